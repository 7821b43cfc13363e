"""Facts, runs, medians and verdict as text. Pure."""

from collections.abc import Callable, Mapping, Sequence

from bench.figures import Bar, Run, bars, ratios, spread

COLUMNS: Sequence[tuple[str, int, Callable[[Run], float]]] = (
    ("msg/s", 0, lambda run: run.rate),
    ("CPU µs/msg", 1, lambda run: run.cpu_us),
    ("SQL/1000", 1, lambda run: run.statements_per_1000),
    ("commits/1000", 1, lambda run: run.transactions_per_1000),
    ("Postgres µs", 1, lambda run: run.postgres_us),
    ("RabbitMQ µs", 1, lambda run: run.rabbitmq_us),
    ("others %", 0, lambda run: run.elsewhere * 100),
    ("peak MiB", 0, lambda run: run.memory_mib),
    ("seconds", 2, lambda run: run.seconds),
    ("start-up s", 2, lambda run: run.startup_s),
)
LEGEND = """\
CPU: of the process itself, from being ready to its last mark; start-up is apart. Postgres, RabbitMQ: the servers' own.
SQL, commits: all that the server counted for it. Others: the share of the machine that something else used meanwhile:
with much of it the rates are worth little, and the CPU for each message is the steadier figure."""
NAME_WIDTH = 16


def told(facts: Mapping[str, str]) -> str:
    """Return facts, one a line."""
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {fact}" for name, fact in facts.items())


def heading() -> str:
    """Return what the columns are, and their names."""
    return LEGEND + "\n\n" + _line("", [name for name, _, _ in COLUMNS])


def row(run: Run, number: int) -> str:
    """Return a run as a line of the table."""
    return _line(f"{run.who} {number}", [f"{figure(run):,.{digits}f}" for _, digits, figure in COLUMNS])


def summary(runs: Sequence[Run]) -> str:
    """Return the medians of both, least and most below them, and the ratio of each pair."""
    lines = []
    for who in ("naive", "relay"):
        if chosen := [run for run in runs if run.who == who]:
            spreads = [(digits, spread(chosen, figure)) for _, digits, figure in COLUMNS]
            lines.append(_line(f"{who} median", [f"{each.median:,.{digits}f}" for digits, each in spreads]))
            lines.append(_line("  least", [f"{each.least:,.{digits}f}" for digits, each in spreads]))
            lines.append(_line("  most", [f"{each.most:,.{digits}f}" for digits, each in spreads]))
    if pairs := ratios(runs):
        lines += ["", "relay / naive, msg/s, pair by pair: " + ", ".join(f"{pair:.2f}" for pair in pairs)]
    return "\n".join(lines)


def verdict(runs: Sequence[Run]) -> str:
    """Return what must be reached and whether it was."""
    return "\n".join(_bar(bar) for bar in bars(runs))


def _bar(bar: Bar) -> str:
    return f"{'met    ' if bar.met else 'NOT MET'}  {bar.what}: {bar.got} (bar: {bar.wanted})"


def _line(name: str, cells: Sequence[str]) -> str:
    widths = [max(len(column), 8) for column, _, _ in COLUMNS]
    return name.ljust(NAME_WIDTH) + "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
