"""Messages of all sizes: bytes a second, and whether memory stays under its ceiling."""

from collections.abc import Mapping, Sequence

from bench import runs, table
from bench.bars import Bar, at_most
from bench.ceilings import broker_rate
from bench.drains import Order, drain
from bench.figures import Run, Spread, Who, spread
from bench.scenario import Found, Say, Scenario, Sizes, Table, Yard
from bench.stage import Stage

MIB = 1 << 20
BODIES = {"100 B": 100, "4 KB": 4096, "64 KB": 65536, "1 MB": MIB}
ROWS_MAX = 50_000
BASE_MIB, ROW_BYTES, COPIES = 90, 2048, 3
LANES, BATCH_SIZE, BATCH_BYTES = 2, 500, 8 * MIB
CEILING_MIB = BASE_MIB + LANES * (BATCH_SIZE * ROW_BYTES + COPIES * BATCH_BYTES) // MIB
"""As the README states it, for messages smaller than a batch."""

Groups = Mapping[str, Mapping[Who, Sequence[Run]]]


def measure(stage: Stage, sizes: Sizes, _yard: Yard, say: Say) -> Found:
    """Drain as many bytes of each size, by the naive loop and the relay in turns, and feed them to the broker."""
    groups: dict[str, dict[Who, list[Run]]] = {}
    broker: dict[str, list[float]] = {}
    for name, size in BODIES.items():
        rows = min(ROWS_MAX, sizes.body_mib * MIB // size, sizes.rows)
        found = groups.setdefault(name, {"naive": [], "relay": []})
        for _ in range(sizes.runs):
            broker.setdefault(name, []).append(broker_rate(stage, rows, size))
            for who, those in found.items():
                with stage.connected() as connection:
                    table.fill_with(connection, rows, size)
                those.append(drain(stage, Order(who)))
                say(f"{who}, {name}: {_mb(size, those[-1].rate):,.1f} MB/s, {runs.told(those[-1])}")
    named = {f"{who}, {name}": those for name, found in groups.items() for who, those in found.items()}
    relays = {name: found["relay"] for name, found in groups.items()}
    tables = (_bytes(groups, broker), runs.table("The same, a message", named, None))
    data = {"runs": runs.kept(named), "broker": broker, "ceiling_mib": CEILING_MIB, "mb_s": _series(groups, broker)}
    return Found(tables, bars(relays), data)


def _mb(size: int, rate: float) -> float:
    return size * rate / 1e6


def _series(groups: Groups, broker: Mapping[str, Sequence[float]]) -> dict[str, list[tuple[int, float]]]:
    rates: dict[str, dict[str, float]] = {
        "relay": {name: spread(found["relay"], lambda run: run.rate).median for name, found in groups.items()},
        "naive": {name: spread(found["naive"], lambda run: run.rate).median for name, found in groups.items()},
        "RabbitMQ alone": {name: Spread.of(those).median for name, those in broker.items()},
    }
    return {
        who: [(BODIES[name], _mb(BODIES[name], rate)) for name, rate in each.items()] for who, each in rates.items()
    }


def _bytes(groups: Groups, broker: Mapping[str, Sequence[float]]) -> Table:
    lines = []
    columns = zip(groups.items(), *_series(groups, broker).values(), strict=True)
    for (name, found), (_, relay), (_, naive), (_, alone) in columns:
        memory = (f"{spread(found[who], lambda run: run.memory_mib).most:,.0f}" for who in ("relay", "naive"))
        rates = (f"{relay:,.1f}", f"{naive:,.1f}", f"{alone:,.1f}", f"{relay / naive:.2f}", f"{relay / alone:.0%}")
        lines.append((name, *rates, *memory))
    head = ("Body", "relay MB/s", "naive MB/s", "RabbitMQ alone MB/s", "times naive", "of RabbitMQ alone")
    return Table("Bytes", (*head, "relay, peak MiB", "naive, peak MiB"), tuple(lines))


def bars(relays: dict[str, list[Run]]) -> tuple[Bar, ...]:
    """Hold the most memory of any run to the ceiling."""
    return tuple(
        at_most(f"{name}: memory, MiB", CEILING_MIB, spread(found, lambda run: run.memory_mib).most)
        for name, found in relays.items()
    )


SCENARIO = Scenario("bodies", "How many bytes a second, in how much memory, at each size of body?", measure)
