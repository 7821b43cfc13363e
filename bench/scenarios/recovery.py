"""How soon a backlog is gone that gathered while the broker was away, and how gently."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise

from bench import table
from bench.bars import Bar, at_least, at_most
from bench.figures import Spread, most_within
from bench.meter import Broken
from bench.running import Running, relays, wait_until
from bench.scenario import Found, Say, Scenario, Sizes, Table, Yard
from bench.stage import Stage
from services.rabbitmq import RabbitMQ

COPIES = (1, 3)
DRAINED_S = 600.0
CONNECTIONS_A_RELAY = 2
"""One to publish on, and one to ask whether exchanges exist."""
CLAIMS_A_RELAY = 8
"""In 100 ms: the ramp after an outage is 1, 10, 100 rows on its way to full batches. More is a herd."""
LOOK_S = 0.1
RATIO_MIN = 2.0
"""Of the naive loop, which has no backlog of logs and dead tuples behind it."""
ACCEPTED = "accepting AMQP connection"


@dataclass(frozen=True, slots=True)
class Recovery:
    """One return of the broker."""

    first_s: float
    """From the broker's return to the first row marked."""
    drained_s: float
    """From the broker's return to the last row marked."""
    rate: float
    """Rows a second from the first tick on."""
    connections: int
    """Most new connections in a second, from the broker's return on."""
    claims: int
    """Most claims between two looks 100 ms apart, those that found nothing too."""
    duplicates: int
    """Messages beyond one a row."""


def measure(stage: Stage, sizes: Sizes, yard: Yard, say: Say) -> Found:
    """Stop the broker, let rows gather, start it, and watch one relay and three."""
    found: dict[int, list[Recovery]] = {copies: [] for copies in COPIES}
    for _ in range(sizes.runs):
        for copies, recoveries in found.items():
            recoveries.append(_recover(stage, copies, sizes.gathered))
            say(f"{_name(copies)}: {recoveries[-1]}")
    names = ("first_s", "drained_s", "rate", "connections", "claims", "duplicates")
    lines = tuple(
        (_name(copies), *(_told(each, name) for name in names), yard.ratios(_median(each, "rate"))[0])
        for copies, each in found.items()
    )
    head = (
        "",
        "first batch, s",
        "drained, s",
        "rows/s between",
        "most connections in 1 s",
        "most claims in 100 ms",
        "duplicates",
        "rows/s, times naive",
    )
    data = {str(copies): [asdict(each) for each in recoveries] for copies, recoveries in found.items()}
    title = f"{sizes.gathered:,} rows gathered, from the broker's return"
    return Found((Table(title, head, lines),), bars(found, yard), data)


def _name(copies: int) -> str:
    return f"{copies} relay{'s' * (copies > 1)}"


def _told(recoveries: Sequence[Recovery], name: str) -> str:
    median = _median(recoveries, name)
    return f"{median:,.1f}" if name.endswith("_s") else f"{median:,.0f}"


def _median(recoveries: Sequence[Recovery], name: str) -> float:
    return Spread.of([getattr(each, name) for each in recoveries]).median


def _recover(stage: Stage, copies: int, rows: int) -> Recovery:
    broker = stage.rabbitmq
    if not isinstance(broker, RabbitMQ):
        raise Broken("This scenario reads the log of a private RabbitMQ, and there are only containers.")
    stage.empty_queue()
    with stage.connected() as connection, relays(stage, copies) as found:
        table.fill(connection, 1)
        wait_until(lambda: carried(found) == 1, "that the flow is full", DRAINED_S)
        broker.stop()
        table.add(connection, table.FILL, rows)
        for each in found:
            each.wait_for("outage.began")
        lines = len(broker.log.read_text(errors="replace").splitlines())
        broker.start()
        returned = time.time()
        claims = _most_claims(stage, found, rows + 1)
        for each in found:
            each.stop()
    ticks = [moment for each in found for moment in (_moments(each, returned))]
    first_s, drained_s = min(ticks) - returned, max(ticks) - returned
    log = broker.log.read_text(errors="replace").splitlines()[lines:]
    return Recovery(
        first_s=first_s,
        drained_s=drained_s,
        rate=rows / (drained_s - first_s),
        connections=most_within([logged_at(line) for line in log if ACCEPTED in line], 1.0),
        claims=claims,
        duplicates=stage.queued() - rows - 1,
    )


def _most_claims(stage: Stage, found: Sequence[Running], rows: int) -> int:
    """Look on until that many rows are carried; return the most claims between two looks."""
    counts = [stage.claims()]

    def done() -> bool:
        counts.append(stage.claims())
        return carried(found) >= rows

    wait_until(done, "that every row is sent", DRAINED_S, step_s=LOOK_S)
    return max(now - then for then, now in pairwise(counts))


def carried(found: Sequence[Running]) -> int:
    """Return how many rows relays have told to be confirmed."""
    return sum(int(tick.get("confirmed", 0)) for each in found for tick in each.of("tick"))


def _moments(relay: Running, since: float) -> list[float]:
    """Return when each of its batches was done, by the clock of the wall, as its log has it."""
    moments = (datetime.fromisoformat(str(tick["timestamp"])).timestamp() for tick in relay.of("tick"))
    return [moment for moment in moments if moment >= since]


def logged_at(line: str) -> float:
    """Return when a line of RabbitMQ's log was written: it begins with the date and the time."""
    return datetime.fromisoformat(" ".join(line.split()[:2])).timestamp()


def bars(found: dict[int, list[Recovery]], yard: Yard) -> tuple[Bar, ...]:
    """Hold each number of relays to what they must reach."""
    bars: list[Bar] = []
    for copies, recoveries in found.items():
        most = {
            name: max(getattr(each, name) for each in recoveries) for name in ("connections", "claims", "duplicates")
        }
        rate = _median(recoveries, "rate") / yard.naive.median
        bars += [
            at_least(f"{_name(copies)}: rows a second while draining, times the naive loop", RATIO_MIN, rate, 2),
            at_most(f"{_name(copies)}: new connections in a second", copies * CONNECTIONS_A_RELAY, most["connections"]),
            at_most(f"{_name(copies)}: claims in 100 ms", copies * CLAIMS_A_RELAY, most["claims"]),
        ]
    return tuple(bars)


SCENARIO = Scenario("recovery", "How soon is the backlog of an outage gone, and without a herd?", measure)
