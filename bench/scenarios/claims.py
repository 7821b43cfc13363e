"""How long a claim takes under an old snapshot, with and without the low-water mark."""

import asyncio
import time

from bench import table
from bench.figures import Delays
from bench.scenario import Found, Say, Scenario, Sizes, Table, Yard
from bench.stage import Stage
from bench.tables import filled, old_snapshot
from relay.model import Claim, Sent
from relay.store import PostgresStore, StoreConfig

SHARES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Of the dead tuples, where claims are timed."""
CLAIMS = 10
BATCH = 500


def measure(stage: Stage, sizes: Sizes, _yard: Yard, say: Say) -> Found:
    """Send rows under an old snapshot, and now and then claim some from the mark, and some from 0."""
    levels = [round(sizes.dead * share) for share in SHARES]
    rows = sizes.dead + len(levels) * 2 * CLAIMS * BATCH  # ids count up from 1, so the mark is the number of dead rows
    found: list[tuple[int, Delays, Delays]] = []
    with (
        stage.database("bench_claims") as database,
        old_snapshot(stage, database),
        filled(stage, database, lambda c: table.add(c, table.FILL, rows)) as connection,
    ):
        low = 0
        for level in levels:
            low = dead = table.send(connection, max(0, level - low), after=low)
            connection.execute("CHECKPOINT")
            low, with_mark, without = asyncio.run(_timed(stage, database, low))
            found.append((dead, with_mark, without))
            say(f"{dead:,} dead: p50 {with_mark.p50:.1f} ms from the mark, {without.p50:.1f} ms from 0")
    head = ("Rows sent under an old snapshot", "mark p50, ms", "mark p99, ms", "from 0, p50, ms", "from 0, p99, ms")
    lines = tuple((f"{level:,}", *(f"{each:.1f}" for each in (a.p50, a.p99, b.p50, b.p99))) for level, a, b in found)
    data = {"by_dead": [(level, a.p50, b.p50) for level, a, b in found]}
    return Found((Table(f"A claim of {BATCH} rows", head, lines),), data=data)


async def _timed(stage: Stage, database: str, low: int) -> tuple[int, Delays, Delays]:
    """Claim and mark, from the mark and from 0 in turns; return the new mark and how long the claims took."""
    url = stage.postgres.url(database)
    store = PostgresStore(StoreConfig(conninfo=lambda: url, application_name="bench"))
    await store.open()
    await store.ready()
    seconds: tuple[list[float], list[float]] = ([], [])
    try:
        for number in range(2 * CLAIMS):
            began = time.monotonic()
            claim = await _rows(store, 0 if number % 2 else low)
            seconds[number % 2].append(time.monotonic() - began)
            await store.settle(claim.token, [Sent(row.id, row.message_id) for row in claim.rows])
            low = claim.rows[-1].id
    finally:
        await store.close()
    return low, Delays.of(seconds[0]), Delays.of(seconds[1])


async def _rows(store: PostgresStore, low: int) -> Claim:
    """Claim from there on, window by window, until rows are found."""
    claim = await store.claim(limit=BATCH, low=low)
    while not claim.rows and claim.beyond is not None:
        claim = await store.claim(limit=BATCH, low=claim.beyond)
    return claim


SCENARIO = Scenario("claims", "What does a claim cost under an old snapshot, and what saves the mark?", measure)
