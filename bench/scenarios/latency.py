"""From the commit to the broker, at a steady rate and one row at a time."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from itertools import chain

from bench import consumer, producer
from bench.bars import Bar, at_most
from bench.ceilings import claim_s, confirm_s
from bench.figures import Delays, Spread, histogram
from bench.running import naive_loop, relays, running
from bench.scenario import Found, Say, Scenario, Sizes, Table, Yard
from bench.stage import QUEUE, Stage

RATE = 500.0
NAIVE_POLL_S = 0.02
"""Of the naive loop, in its favour: most wait for a second."""
LATE_S = 60.0
"""For the last rows to arrive."""
P50_MS, P99_MS = {"polling": 15.0, "doorbell": 5.0}, {"polling": 60.0, "doorbell": 25.0}
LONE_P50_MS = 5.0

LONGER = 1.5
"""Times as long with one row a second."""

Steady = Mapping[str, Sequence[Sequence[float]]]
"""Delays by mode and run."""


@dataclass(frozen=True, slots=True)
class Mode:
    """Who carries the rows."""

    start: Callable[[Stage, str], AbstractContextManager[object]]
    """On a database of that name."""
    opt_ins: tuple[tuple[str, ...], ...] = ()
    """Commands of the relay before it starts."""


MODES: Mapping[str, Mode] = {
    "naive": Mode(lambda stage, database: naive_loop(stage, NAIVE_POLL_S, database)),
    "polling": Mode(lambda stage, database: relays(stage, 1, database)),
    "doorbell": Mode(lambda stage, database: relays(stage, 1, database), (("doorbell", "enable"),)),
}


def measure(stage: Stage, sizes: Sizes, _yard: Yard, say: Say) -> Found:
    """Commit rows steadily, then one a second, and see when each arrives."""
    steady: dict[str, list[list[float]]] = {name: [] for name in MODES}
    for _ in range(sizes.runs):
        for name, runs in steady.items():
            runs.append(_delays(stage, MODES[name], RATE, sizes.steady_s))
            say(f"{name}, {RATE:g} rows/s: p50 {Delays.of(runs[-1]).p50:.1f} ms, p99 {Delays.of(runs[-1]).p99:.1f} ms")
    lone = {name: _delays(stage, mode, 1.0, sizes.steady_s * LONGER) for name, mode in MODES.items()}
    floor = {"a claim of one row": claim_s(stage), "a confirm of one message": confirm_s(stage)}
    data = {
        "steady": {name: [asdict(Delays.of(run)) for run in runs] for name, runs in steady.items()},
        "lone": {name: asdict(Delays.of(found)) for name, found in lone.items()},
        "floor": {name: asdict(Delays.of(found)) for name, found in floor.items()},
        "histograms": {name: histogram(list(chain(*runs))) for name, runs in steady.items()},
    }
    return Found((_table(steady, lone, floor),), bars(steady, lone), data)


def _delays(stage: Stage, mode: Mode, rate: float, seconds: float) -> list[float]:
    stage.empty_queue()
    rows = round(rate * seconds) + 1  # the producer's first is not timed
    python = (sys.executable, "-m")
    listen = {
        consumer.URL_VARIABLE: stage.rabbitmq.url(),
        consumer.QUEUE_VARIABLE: QUEUE,
        consumer.ROWS_VARIABLE: str(rows),
    }
    with (
        stage.database("bench_latency", *mode.opt_ins) as database,
        running((*python, "bench.consumer"), listen) as arrivals,
    ):
        commit = {
            producer.URL_VARIABLE: stage.postgres.url(database),
            producer.RATE_VARIABLE: str(rate),
            producer.SECONDS_VARIABLE: str(seconds),
        }
        arrivals.wait_for("consumer.ready")
        with mode.start(stage, database), running((*python, "bench.producer"), commit) as commits:
            at = commits.wait_for("producer.done", seconds + LATE_S)["at"]
            arrived = arrivals.wait_for("consumer.done", LATE_S)["at"]
    return [arrived[row_id] - at[row_id] for row_id in at]


def _table(steady: Steady, lone: Mapping[str, Sequence[float]], floor: Mapping[str, Sequence[float]]) -> Table:
    least = sum(Delays.of(found).p50 for found in floor.values())
    lines = {f"{name}, {RATE:g} rows/s": Delays.of(list(chain(*runs))) for name, runs in steady.items()}
    lines |= {f"{name}, 1 row/s": Delays.of(found) for name, found in lone.items()}
    lines |= {f"the servers alone: {name}": Delays.of(found) for name, found in floor.items()}
    rows = []
    for name, delays in lines.items():
        figures = (delays.p50, delays.p90, delays.p99, delays.most)
        rows.append((name, f"{delays.count:,}", *(f"{each:.1f}" for each in figures), f"{delays.p50 / least:.1f}"))
    head = ("ms", "rows", "p50", "p90", "p99", "longest", "p50, times both servers' alone")
    return Table("From the commit to the broker", head, tuple(rows))


def bars(steady: Steady, lone: Mapping[str, Sequence[float]]) -> tuple[Bar, ...]:
    """Hold the medians of the runs to what they must reach."""
    found = []
    for name in [name for name in P50_MS if name in steady]:
        runs = [Delays.of(run) for run in steady[name]]
        p50, p99 = (Spread.of([getattr(run, which) for run in runs]).median for which in ("p50", "p99"))
        found.append(at_most(f"{name}, {RATE:g} rows/s: p50, ms", P50_MS[name], p50, 1))
        found.append(at_most(f"{name}, {RATE:g} rows/s: p99, ms", P99_MS[name], p99, 1))
    if "doorbell" in lone:
        found.append(at_most("doorbell, 1 row/s: p50, ms", LONE_P50_MS, Delays.of(lone["doorbell"]).p50, 1))
    return tuple(found)


SCENARIO = Scenario("latency", "How long from the commit to the broker?", measure)
