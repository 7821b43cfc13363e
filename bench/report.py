"""Facts, tables and verdicts as text and as Markdown. Pure."""

from collections.abc import Mapping, Sequence

from bench.bars import Bar
from bench.scenario import Found, Table


def told(facts: Mapping[str, str]) -> str:
    """Return facts, one a line."""
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {fact}" for name, fact in facts.items())


def text(table: Table) -> str:
    """Return a table in columns."""
    lines = (table.head, *table.rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join((table.title, *(_line(cells, widths) for cells in lines)))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return "  ".join((first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest))).rstrip()


def verdict(bars: Sequence[Bar]) -> str:
    """Return what must be reached and whether it was."""
    return "\n".join(f"{_word(bar):<7}  {bar.what}: {bar.got} (bar: {bar.wanted})" for bar in bars)


def _word(bar: Bar) -> str:
    return "met" if bar.met else "NOT MET"


def markdown(table: Table) -> str:
    """Return a table in Markdown, with its title."""
    ruler = ("---", *("---:" for _ in table.head[1:]))
    lines = "\n".join("| " + " | ".join(cells) + " |" for cells in (table.head, ruler, *table.rows))
    return f"**{table.title}**\n\n{lines}\n"


def bars(found: Mapping[str, Found]) -> str:
    """Return the bars of all scenarios in Markdown."""
    lines = ["| Scenario | Bar | Wanted | Got | |", "| --- | --- | ---: | ---: | --- |"]
    for name, each in found.items():
        lines += [
            f"| {name} | {bar.what} | {bar.wanted} | {bar.got} | {'met' if bar.met else '**NOT MET**'} |"
            for bar in each.bars
        ]
    return "\n".join(lines) + "\n"


def listed(facts: Mapping[str, str]) -> str:
    """Return facts as a list in Markdown."""
    return "".join(f"- **{name}**: {fact}\n" for name, fact in facts.items())


def page(facts: Mapping[str, str], found: Mapping[str, Found]) -> str:
    """Return everything in Markdown."""
    parts = ["# Measured\n", listed(facts), bars(found)]
    for name, each in found.items():
        parts += [f"## {name}\n", *map(markdown, each.tables)]
    return "\n".join(parts)
