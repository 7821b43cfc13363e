"""Runs of drains as tables. Pure."""

from collections.abc import Callable, Mapping, Sequence

from bench.figures import Run, spread
from bench.scenario import Table, Yard

COLUMNS: Sequence[tuple[str, int, Callable[[Run], float]]] = (
    ("msg/s", 0, lambda run: run.rate),
    ("CPU µs/msg", 1, lambda run: run.cpu_us),
    ("SQL/1000", 1, lambda run: run.statements_per_1000),
    ("commits/1000", 1, lambda run: run.transactions_per_1000),
    ("Postgres µs", 1, lambda run: run.postgres_us),
    ("RabbitMQ µs", 1, lambda run: run.rabbitmq_us),
    ("others %", 0, lambda run: run.elsewhere * 100),
    ("peak MiB", 0, lambda run: run.memory_mib),
)
HEAD = ("", *(name for name, _, _ in COLUMNS), "least to most msg/s")
RATIOS = ("times naive", "of the slower server alone")


def told(run: Run) -> str:
    """Return a run in a line, as it ends."""
    return ", ".join(f"{name} {figure(run):,.{digits}f}" for name, digits, figure in COLUMNS)


def table(title: str, groups: Mapping[str, Sequence[Run]], yard: Yard | None) -> Table:
    """Return the medians of each group of runs, the spread of its rates, and its rate as ratios to the yardsticks."""
    head = HEAD if yard is None else HEAD + RATIOS
    return Table(title, head, tuple((name, *_cells(runs, yard)) for name, runs in groups.items() if runs))


def _cells(runs: Sequence[Run], yard: Yard | None) -> tuple[str, ...]:
    medians = tuple(f"{spread(runs, figure).median:,.{digits}f}" for _, digits, figure in COLUMNS)
    rates = spread(runs, lambda run: run.rate)
    return (*medians, f"{rates.least:,.0f} to {rates.most:,.0f}", *(yard.ratios(rates.median) if yard else ()))


def kept(groups: Mapping[str, Sequence[Run]]) -> dict[str, object]:
    """Return every run for JSON."""
    return {name: [run.as_dict() for run in runs] for name, runs in groups.items()}
