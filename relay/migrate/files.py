"""The migration files: found, checked for gaps, rendered for another schema and table; no server needed.

The files are plain SQL with the default names. Every name that depends on the settings stands there as a quoted
identifier of its own, and only there: `"outbox"` is the schema, `"message"` the table, `"message_…"` an index or
the like of it. Rendering exchanges exactly these tokens. Comments and strings hold no double quote, so that no name,
however hostile, can end up in one; the single exception is the literal `'"outbox"."message"'`.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from psycopg.sql import Identifier, Literal

NAME_BYTES_MAX = 63
"""Postgres cuts longer names without an error (NAMEDATALEN - 1)."""
DEFAULT_SCHEMA, DEFAULT_TABLE = "outbox", "message"
VERSIONS = "migration"
"""The table, in the same schema, where the runner writes down what it applied."""
OPT_IN_FROM = 1001
"""Numbers from here on are opt-ins: applied when named, and not otherwise."""

_FILE = re.compile(r"(?P<version>[0-9]{4})_(?P<name>[a-z0-9_]+)\.(?P<way>up|down)\.sql")
_TOKEN = re.compile(
    r"""(?P<literal>'"outbox"\."message"')|"(?P<name>outbox|message(?P<suffix>_[a-z_]+)?)"|(?P<tag>\$do\$)"""
)


class MigrationError(Exception):
    """Says to an operator what stands in the way of a migration, and what to do."""


class UnknownOptIn(MigrationError):
    """Lists the opt-ins there are."""


@dataclass(frozen=True, slots=True)
class Migration:
    """A numbered pair of files."""

    version: int
    name: str
    up: str
    down: str

    @property
    def optional(self) -> bool:
        """Whether it is an opt-in."""
        return self.version >= OPT_IN_FROM

    @property
    def checksum(self) -> str:
        """SHA-256 of the file that goes up, as released: the same for every schema."""
        return hashlib.sha256(self.up.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.version:04}_{self.name}"


@dataclass(frozen=True, slots=True)
class Names:
    """The schema and table to render for. Raises MigrationError for names Postgres would not keep as they are."""

    schema: str = DEFAULT_SCHEMA
    table: str = DEFAULT_TABLE

    def __post_init__(self) -> None:
        for what, name in (("schema", self.schema), ("table", self.table)):
            size = len(name.encode("utf-8", "surrogatepass"))
            if not 0 < size <= NAME_BYTES_MAX:
                raise MigrationError(f"the {what} name has {size} bytes; Postgres keeps 1 to {NAME_BYTES_MAX}")
            if "\x00" in name or any("\ud800" <= letter <= "\udfff" for letter in name):
                raise MigrationError(f"the {what} name holds a character that Postgres cannot store")
        if self.table == VERSIONS:
            raise MigrationError(f"the table cannot be named {VERSIONS}: the runner keeps its own table of that name")

    def derived(self, suffix: str) -> str:
        """Return the table's name with a suffix; a long one is cut, and a hash keeps two tables' names apart."""
        whole = self.table + suffix
        if len(whole.encode()) <= NAME_BYTES_MAX:
            return whole
        mark = "_" + hashlib.sha256(self.table.encode()).hexdigest()[:8] + suffix
        return self.table.encode()[: NAME_BYTES_MAX - len(mark)].decode("utf-8", "ignore") + mark


@cache
def folder() -> Path:
    """Where the files are: inside the package when it is installed, beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "sql" / "migrations"


def migrations() -> tuple[Migration, ...]:
    """Return those that everybody has, in order."""
    return tuple(each for each in _all() if not each.optional)


def opt_ins() -> tuple[Migration, ...]:
    """Return those that are applied when named, in order."""
    return tuple(each for each in _all() if each.optional)


def opt_in(name: str) -> Migration:
    """Return the opt-in of that name. Raises UnknownOptIn."""
    found = next((each for each in opt_ins() if each.name == name), None)
    if found is None:
        there = ", ".join(each.name for each in opt_ins())
        raise UnknownOptIn(f"there is no opt-in migration {name!r}; there are: {there}")
    return found


@cache
def _all() -> tuple[Migration, ...]:
    texts: dict[int, dict[str, str]] = {}
    for path in sorted(folder().glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is not named like 0001_what.up.sql")
        pair = texts.setdefault(int(match["version"]), {"name": match["name"]})
        pair[match["way"]] = path.read_text(encoding="utf-8")
    ordinary = sum(version < OPT_IN_FROM for version in texts)
    whole = [*range(1, ordinary + 1), *range(OPT_IN_FROM, OPT_IN_FROM + len(texts) - ordinary)]
    if list(texts) != whole or not ordinary:
        raise MigrationError(f"the migrations in {folder()} have gaps: {sorted(texts)}; install the package again")
    return tuple(Migration(version, **pair) for version, pair in texts.items())


def render(text: str, names: Names) -> str:
    """Exchange the default names in a file for those."""
    tag = "$do$"
    while any(tag[1:-1] in name for name in (names.schema, names.table)):
        tag = f"${tag[1:-1]}_$"

    def exchange(match: re.Match[str]) -> str:
        if match["tag"]:
            return tag
        if match["literal"]:
            return Literal(f"{_quoted(names.schema)}.{_quoted(names.table)}").as_string(None)
        if match["name"] == DEFAULT_SCHEMA:
            return _quoted(names.schema)
        return _quoted(names.derived(match["suffix"] or ""))

    return _TOKEN.sub(exchange, text)


def sql(
    schema: str = DEFAULT_SCHEMA, table: str = DEFAULT_TABLE, *, only: str | None = None, backwards: bool = False
) -> str:
    """Return the migrations as one text for psql or a team's own tool; backwards: what takes them back.

    `only` names the one opt-in to print. Raises MigrationError.
    """
    names = Names(schema, table)
    chosen = migrations() if only is None else (opt_in(only),)
    steps = reversed(chosen) if backwards else chosen
    parts = (f"-- {step}\n{render(step.down if backwards else step.up, names)}" for step in steps)
    return "\n".join(parts)


def _quoted(name: str) -> str:
    return Identifier(name).as_string(None)
