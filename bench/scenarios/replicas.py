"""What more relays on one table bring, and what they cost while there is work."""

from collections.abc import Callable, Mapping, Sequence

from bench import runs
from bench.drains import drained
from bench.figures import Run, spread
from bench.scenario import Found, Say, Scenario, Sizes, Table, Yard
from bench.stage import Stage

COPIES = (1, 2, 3, 4)


def measure(stage: Stage, sizes: Sizes, yard: Yard, say: Say) -> Found:
    """Drain the same backlog by one relay up to four."""
    groups: dict[int, list[Run]] = {copies: [] for copies in COPIES}
    for _ in range(sizes.runs):
        for copies, found in groups.items():
            found.append(drained(stage, "relay", sizes.rows, copies=copies))
            say(f"{copies} relays: {runs.told(found[-1])}")
    named = {f"{copies} relay{'s' * (copies > 1)}": found for copies, found in groups.items()}
    data = {
        "runs": runs.kept(named),
        "by_copies": [(copies, spread(found, lambda run: run.rate).median) for copies, found in groups.items()],
    }
    return Found((runs.table("Replicas at work", named, yard), _cost(named)), data=data)


def _cost(groups: Mapping[str, Sequence[Run]]) -> Table:
    """Return what all of them together cost the machine while they work."""
    figures: Sequence[tuple[str, Callable[[Run], float]]] = (
        ("statements/s", lambda run: run.statements / run.seconds),
        ("commits/s", lambda run: run.transactions / run.seconds),
        ("cores, relays", lambda run: run.cpu_s / run.seconds),
        ("cores, Postgres", lambda run: run.postgres_cpu_s / run.seconds),
        ("cores, RabbitMQ", lambda run: run.rabbitmq_cpu_s / run.seconds),
    )
    rows = (
        (name, *(f"{spread(found, figure).median:,.{2 if 'cores' in what else 0}f}" for what, figure in figures))
        for name, found in groups.items()
    )
    return Table("Their cost at work", ("", *(name for name, _ in figures)), tuple(rows))


SCENARIO = Scenario("replicas", "What do more relays on one table bring, and cost?", measure)
