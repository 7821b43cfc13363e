"""The parts of the README that are made from the code; `python -m tests.docs` writes them anew."""

import inspect
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import rich_click as click
from prometheus_client.metrics_core import Metric

from relay.cli import cli
from relay.model import Doubt, Fault, Refusal
from relay.observe import EVENTS, LABELS, METRICS, events
from relay.observe.metrics import DB_OPS, OUTCOMES, Metrics
from relay.settings import reference

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
_BLOCK = re.compile(r"(?P<begin><!-- made: (?P<name>\w+) -->\n)(?P<text>.*?)(?P<end><!-- /made -->)", re.DOTALL)
_WORDS: Mapping[tuple[str, ...], str] = {
    tuple(Refusal): "a [refusal](#refusals)",
    tuple(Fault): "a [fault](#faults)",
    tuple(Doubt): "a [doubt](#doubts)",
    OUTCOMES: ", ".join(f"`{word}`" for word in OUTCOMES if word not in {*Refusal}) + ", or a [refusal](#refusals)",
    DB_OPS: ", ".join(f"`{op}`" for op in DB_OPS),
}


def settings() -> str:
    """Every variable: default, what it takes, what it is."""

    def default(name: str, text: str) -> str:
        if not text:
            return "" if name.endswith("_FILE") else "**required**"
        return f"`{text}`" if " " not in text else text

    rows = (
        [f"`{each.name}`", default(each.name, each.default), each.allowed, each.description] for each in reference()
    )
    return _table(["Variable", "Default", "Takes", "What it is"], rows)


def commands() -> str:
    """Every command with its options."""

    def row(path: str, command: click.Command) -> list[str]:
        options = (_option(each) for each in command.params if isinstance(each, click.Option))
        takes = "".join(f" {each.metavar}" for each in command.params if isinstance(each, click.Argument))
        first = inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ")
        return [f"`{path}{takes}`", " ".join(options), first]

    return _table(["Command", "Options", "What it does"], (row(*each) for each in leaves("relay", cli)))


def leaves(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Give every command that can be run, with its words."""
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from leaves(f"{path} {name}", child)
    else:
        yield path, command


def _option(option: click.Option) -> str:
    text = option.opts[0]
    if option.is_flag:
        return f"`{text}`"
    return f"`{text} {option.default}`" if isinstance(option.default, str | int) else f"`{text} N`"


def metrics() -> str:
    """Every metric of our own, with its kind and labels."""
    kinds = {_full_name(each.name, each.type): each.type for each in _families()}
    rows = ([f"`{name}`", kinds[name], _labels(name), text] for name, text in METRICS.items())
    return _table(["Metric", "Kind", "Labels", "What it says"], rows)


def _families() -> Iterable[Metric]:
    made = Metrics(version="0", config={}, outage_seconds=lambda: {"broker": 0.0, "database": 0.0})
    return made.registry.collect()


def _full_name(name: str, kind: str) -> str:
    return name + {"counter": "_total", "info": "_info"}.get(kind, "")


def _labels(metric: str) -> str:
    labels = LABELS.get(metric, {})
    return "; ".join(f"`{name}`: {_WORDS.get(values) or _listed(values)}" for name, values in labels.items())


def _listed(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def log_events() -> str:
    """Every event of the log, with its level."""
    levels = {name: logging.getLevelName(level).lower() for name, (level, _) in events._TABLE.items()}
    return _table(["Event", "Level", "What happened"], ([f"`{name}`", levels[name], EVENTS[name]] for name in EVENTS))


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


BLOCKS: Mapping[str, Callable[[], str]] = {
    "settings": settings,
    "commands": commands,
    "metrics": metrics,
    "events": log_events,
}


def written(text: str) -> str:
    """Put every made part into a text anew."""
    return _BLOCK.sub(lambda match: match["begin"] + BLOCKS[match["name"]]() + match["end"], text)


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
