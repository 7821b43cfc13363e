"""Whether speed and claims depend on what else is in the table."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from bench import runs, table
from bench.bars import Bar, at_least, at_most
from bench.drains import Order, drain
from bench.figures import Delays, Run, Spread, spread
from bench.scenario import Found, Say, Scenario, Sizes, Table, Yard
from bench.stage import DATABASE, Stage
from bench.tables import Connection, tables
from relay.ports import StoreUnavailable
from relay.store import PostgresStore, StoreConfig

SHARE_MAX = 0.15
"""A figure may be that much worse than with a small table."""
SAMPLE_MS_MAX = 5.0
SAMPLES = 20
SMALL = "small table"

Pairs = list[tuple[Run, Run]]
"""A run out of the small table, and one out of a large one right after it."""


def measure(stage: Stage, sizes: Sizes, yard: Yard, say: Say) -> Found:
    """Carry the same rows out of a small table, and out of each that is large in its own way, in turns."""
    pairs: dict[str, Pairs] = {}
    samples: dict[str, list[float]] = {SMALL: asyncio.run(sample_s(stage, DATABASE))}
    for name, large in tables(sizes).items():
        began = time.monotonic()
        with stage.database("bench_large") as database, large(stage, database) as connection:
            say(f"{name}: made in {time.monotonic() - began:.0f} s")
            samples[name] = asyncio.run(sample_s(stage, database))
            pairs[name] = [_pair(stage, connection, database, sizes.flat_rows) for _ in range(sizes.runs)]
        say(f"{name}: " + ", ".join(f"{one.rate:,.0f}/s, small {small.rate:,.0f}/s" for small, one in pairs[name]))
    small = [run for each in pairs.values() for run, _ in each]
    groups = {SMALL: small} | {name: [run for _, run in each] for name, each in pairs.items()}
    return Found(
        (runs.table(f"{sizes.flat_rows:,} rows carried out of", groups, yard), _claims(groups, samples)),
        bars(pairs, samples),
        {"runs": runs.kept(groups), "samples_s": samples, "claims_s": {n: _claims_s(g) for n, g in groups.items()}},
    )


def _pair(stage: Stage, connection: Connection, database: str, rows: int) -> tuple[Run, Run]:
    with stage.connected() as small:
        table.fill(small, rows)
    first = drain(stage, Order(enough=rows))
    table.add(connection, table.FILL, rows)
    table.rest(connection)
    return first, drain(stage, Order(database=database, enough=rows))


async def sample_s(stage: Stage, database: str) -> list[float]:
    """Return how long samples of the backlog took, as the relay takes them."""
    url = stage.postgres.url(database)
    store = PostgresStore(StoreConfig(conninfo=lambda: url, application_name="bench"))
    await store.open()
    try:
        seconds = []
        for _ in range(SAMPLES + 1):
            began = time.monotonic()
            with suppress(StoreUnavailable):  # it is given up after a while, and has taken that long
                await store.backlog()
            seconds.append(time.monotonic() - began)
        return seconds[1:]  # the first one connects
    finally:
        await store.close()


def _claims_s(found: Sequence[Run]) -> list[float]:
    """Return how long claims took; the first of a process, from 0 and without a plan, is told apart."""
    return [seconds for run in found for seconds in run.claims_s[1:]]


def _claims(groups: Mapping[str, Sequence[Run]], samples: Mapping[str, Sequence[float]]) -> Table:
    rows = []
    for name, found in groups.items():
        claims, sample = Delays.of(_claims_s(found)), Delays.of(samples[name])
        first, rate = (spread(found, figure).median for figure in (lambda run: run.first_s * 1000, _steady))
        figures = (first, claims.p50, claims.p90, claims.p99, claims.most, sample.p50, sample.most)
        rows.append((name, f"{rate:,.0f}", *(f"{each:,.1f}" for each in figures)))
    head = (
        "ms",
        "msg/s behind the first batch",
        "first batch",
        "claim p50",
        "claim p90",
        "claim p99",
        "claim, longest",
    )
    title = "After the first batch: claims of 500 rows; and samples of the backlog"
    return Table(title, (*head, "sample p50", "sample, longest"), tuple(rows))


def _steady(run: Run) -> float:
    return run.steady_rate


def bars(pairs: Mapping[str, Pairs], samples: Mapping[str, Sequence[float]]) -> tuple[Bar, ...]:
    """Hold each large table to the small one, pair by pair."""
    found = []
    for name, each in pairs.items():
        rate = Spread.of([large.steady_rate / small.steady_rate for small, large in each]).median
        p99 = [Delays.of(_claims_s(side)).p99 for side in zip(*each, strict=True)]
        found.append(at_least(f"{name}: messages a second, share of the small table's", 1 - SHARE_MAX, rate, 2))
        found.append(at_most(f"{name}: claim p99, times the small table's", 1 + SHARE_MAX, p99[1] / p99[0], 2))
        sample = Spread.of(samples[name]).median * 1000
        found.append(at_most(f"{name}: sample of the backlog, ms", SAMPLE_MS_MAX, sample, 1))
    return tuple(found)


SCENARIO = Scenario("flat", "Does it slow down with history, backlog, dead tuples or retrying rows?", measure)
