"""What the chart says of the relay's settings and of its own values, made from the settings and from values.yaml.

`python -m helm.reference` writes it; a test holds the files to it. The settings come by their names in camel case:
RELAY_BATCH_SIZE is `settings.batchSize`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import yaml  # type: ignore[import-untyped]  # it has no types
from annotated_types import Ge, Le

from relay.migrate.files import opt_ins
from relay.settings import Entry, Settings, reference

CHART = Path(__file__).parent / "outbox-relay"
ELSEWHERE = ("RELAY_DATABASE_URL", "RELAY_AMQP_URL")
"""Secrets: `database` and `amqp` of the chart say where they are, and in which form."""
WIDTH = 118
_COMMENT = re.compile(r"( *)# (.*)")
_KEY = re.compile(r"( *)([A-Za-z][A-Za-z0-9]*):")


class Value(NamedTuple):
    """One line of the table of values."""

    name: str
    default: str
    description: str


def settings() -> dict[str, Entry]:
    """Return the settings that the chart has a value for, by the value's name."""
    return {camel(entry.name): entry for entry in reference() if not entry.name.startswith(ELSEWHERE)}


def camel(variable: str) -> str:
    """Return the name of a variable's value: RELAY_BATCH_SIZE is batchSize."""
    first, *rest = variable.removeprefix("RELAY_").lower().split("_")
    return first + "".join(word.capitalize() for word in rest)


def schema(variable: str) -> dict[str, Any]:
    """Return the JSON schema of a setting; null is the relay's own default."""
    name = variable.removeprefix("RELAY_").lower()
    info = Settings.model_fields[name if name in Settings.model_fields else f"{name}_"]
    if get_origin(info.annotation) is Literal:
        return {"enum": [*get_args(info.annotation), None]}
    kinds: Mapping[Any, str] = {int: "integer", float: "number", bool: "boolean"}
    made: dict[str, Any] = {"type": [kinds.get(info.annotation, "string"), "null"]}
    for bound in info.metadata:
        if isinstance(bound, Ge):
            made["minimum"] = bound.ge
        if isinstance(bound, Le):
            made["maximum"] = bound.le
    return made


def values_part() -> str:
    """Return `settings` of values.yaml: each by name, none set but what must be."""
    lines = ["# The relay's settings; empty: its own default, which is named. README.md says which variable is which."]
    lines.append("settings:")
    for name, entry in settings().items():
        default = f"; empty: {entry.default}" if entry.default else ""
        lines.append(f"  # {entry.description} Takes {entry.allowed}{default}.")
        lines.append(f"  {name}: " + ("null" if entry.default else '""'))
    return "\n".join(lines)


def template() -> str:
    """Return the template that knows each value's variable, and the defaults that other templates reckon with."""
    lines = ["{{/* Made by `python -m helm.reference`: the variable and the default of each of settings. */}}"]
    lines.append('{{- define "outbox-relay.settingsTable" -}}')
    for name, entry in settings().items():
        lines.append(f"{name}: {{variable: {entry.name}, default: {json.dumps(entry.default)}}}")
    return "\n".join([*lines, "{{- end }}", ""])


def settings_table() -> str:
    """Return the table of README.md that names each setting's value and variable."""
    rows = ["| Value | Variable | Default | Takes | What it is |", "| --- | --- | --- | --- | --- |"]
    for name, entry in settings().items():
        default = f"`{entry.default}`" if entry.default else "**required**"
        rows.append(
            f"| `settings.{name}` | `{entry.name}` | {default} | {entry.allowed} | {_cell(entry.description)} |"
        )
    return "\n".join(rows)


def values_table() -> str:
    """Return the table of README.md of all other values."""
    rows = ["| Value | Default | What it is |", "| --- | --- | --- |"]
    rows += [f"| `{value.name}` | {value.default} | {_cell(value.description)} |" for value in values()]
    return "\n".join(rows)


def _cell(text: str) -> str:
    """Write a comment so that Markdown neither ends the cell nor takes `<cluster>` for a tag."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def values() -> Iterator[Value]:
    """Read the values of values.yaml that have a comment of their own, settings aside."""
    text = (CHART / "values.yaml").read_text()
    tree = yaml.safe_load(text)
    path: list[tuple[int, str]] = []
    said: list[str] = []
    for line in text.splitlines():
        if comment := _COMMENT.fullmatch(line):
            said.append(comment[2])
        elif key := _KEY.match(line):
            path = [step for step in path if step[0] < len(key[1])] + [(len(key[1]), key[2])]
            names = [name for _, name in path]
            if said and names[0] != "settings":
                yield Value(".".join(names), _default(tree, names), " ".join(said))
            said = []
        else:
            said = []


def _default(tree: Any, names: list[str]) -> str:
    for name in names:
        tree = tree[name]
    if isinstance(tree, Mapping) and tree and names[-1] not in _WHOLE:
        return ""
    return f"`{json.dumps(tree, ensure_ascii=False)}`"


_WHOLE = ("rollingUpdate", "behavior")
"""Maps that are a value of their own, and not a group of values."""


def whole_schema(text: str) -> str:
    """Return values.schema.json with what is made here put into it; the rest is written by hand."""
    tree = json.loads(text)
    tree["properties"]["settings"]["properties"] = {
        name: {"description": entry.description, **schema(entry.name)} for name, entry in settings().items()
    }
    tree["properties"]["migrations"]["properties"]["optIns"]["items"]["enum"] = [each.name for each in opt_ins()]
    _require(tree, yaml.safe_load((CHART / "values.yaml").read_text()))
    for value in values():
        node = tree
        for name in value.name.split("."):
            node = node["properties"][name]
        rest = {key: part for key, part in node.items() if key != "description"}
        node.clear()
        node.update({"description": value.description, **rest})
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def _require(schema: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Require groups of values, and switches: Helm deletes what is set to nothing, and templates would stumble."""
    known = schema["properties"]
    groups = [name for name, value in part.items() if isinstance(value, Mapping) and "properties" in known[name]]
    schema["required"] = groups + [name for name, value in part.items() if isinstance(value, bool)]
    for name in groups:
        _require(known[name], part[name])


def between(text: str, begin: str, end: str, made: str) -> str:
    """Put what was made between two lines of a text."""
    before, found, rest = text.partition(f"{begin}\n")
    _, found_end, after = rest.partition(f"{end}\n")
    if not (found and found_end):
        raise ValueError(f"there is no part from {begin!r} to {end!r}")
    return f"{before}{begin}\n{made}\n{end}\n{after}"


def _readme(text: str) -> str:
    text = between(text, "<!-- made: settings -->", "<!-- /made -->", settings_table())
    return between(text, "<!-- made: values -->", "<!-- /made: values -->", values_table())


MADE: Mapping[str, Callable[[str], str]] = {
    "values.yaml": lambda text: between(text, "# settings: begin", "# settings: end", values_part()),
    "values.schema.json": whole_schema,
    "templates/_settings.tpl": lambda _: template(),
    "README.md": _readme,
}
"""Each file that is made wholly or in part: what it must be, from what it is."""


def main() -> None:
    """Write the files."""
    for name, made in MADE.items():
        path = CHART / name
        path.write_text(made(path.read_text() if path.exists() else ""))


if __name__ == "__main__":
    main()
