"""Rows that are not due, however many, delay no row that is, and make no claim long."""

from datetime import UTC, datetime, timedelta

from relay import scan
from relay.store import PostgresStore
from tests.builders import Amqp, Database
from tests.running import relay
from tests.stores import a_store

DELAYED = 30_000
WINDOW = 1000
RESCAN_S = 5.0
TOMORROW = datetime.now(UTC) + timedelta(days=1)


async def delay(db: Database, rows: int) -> None:
    """Commit that many rows for tomorrow."""
    await db.fetch(
        "INSERT INTO {table} (routing_key, payload, available_at) "
        "SELECT 'a', '{{}}', %s FROM generate_series(1, %s) AS n",
        (TOMORROW, rows),
    )


class Claimer:
    """Claims as the engine does, on a clock of its own; `began` tells where each claim began."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._scan = scan.Scan()
        self._idle = False
        self._now = 0.0
        self.began: list[scan.Look] = []

    async def poll(self) -> list[int]:
        """Claim until the relay would rest for the whole poll of half a second; the rows."""
        taken: list[int] = []
        while True:
            look = scan.start(self._scan, idle=self._idle, now=self._now, rescan_s=RESCAN_S)
            claim = await self._store.claim(limit=100, low=look.low)
            ids = [row.id for row in claim.rows]
            sight = scan.Sight(ids[-1] if ids else None, claim.more, claim.beyond, took_s=0.01)
            self._scan = scan.saw(self._scan, look, sight, now=self._now)
            self.began.append(look)
            self._idle = not ids if ids or not look.walks else self._idle
            taken += ids
            if not look.walks and not claim.more and claim.beyond is None:
                rest_s = scan.rest_s(self._scan, 0.5, now=self._now)
                self._now += rest_s
                if rest_s == 0.5:
                    return taken


async def test_due_rows_behind_and_among_thirty_thousand_delayed_ones_are_claimed_promptly(db: Database) -> None:
    await delay(db, DELAYED)
    behind = await db.insert(n=5)
    async with a_store(db.url, scan_ids=WINDOW) as store:
        claimer = Claimer(store)
        assert await claimer.poll() == behind
        assert len(claimer.began) <= 2 * DELAYED / WINDOW + 5
        for among in (3, DELAYED // 2, DELAYED - 1):
            await db.fetch("UPDATE {table} SET available_at = now() WHERE id = %s", (among,))
            fresh, found = await db.insert(), set[int]()
            steps = len(claimer.began)
            for _ in range(round(RESCAN_S / 0.5) + 2):
                polled = await claimer.poll()
                assert found or fresh[0] in polled, "a fresh row waits for no walk"
                found |= set(polled)
            assert found == {among, *fresh}
            assert len(claimer.began) - steps < 4 * DELAYED / WINDOW + 50
        assert max(look.low for look in claimer.began if not look.walks) > DELAYED


async def test_a_drain_passes_by_delayed_rows_and_misses_none_that_is_due(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    await delay(db, DELAYED)
    await db.insert(n=2)
    await delay(db, DELAYED)
    await db.insert(n=2)
    await db.fetch("UPDATE {table} SET available_at = now() WHERE id = 7")
    async with relay(db, amqp, "--drain") as process:
        assert await process.ended() == 0
    assert await db.statuses() == {"sent": 5, "pending": 2 * DELAYED - 1}
