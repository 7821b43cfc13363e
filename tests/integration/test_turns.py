"""Claims that keep order per key, where several meet on a real database."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from random import Random

import pytest

from relay import migrate
from relay.model import Failed, Mark, Refusal, Release, Retry, Sent
from relay.scan import LATE_COMMIT_S
from relay.store import PostgresStore
from tests.builders import Database, eventually
from tests.stores import a_store, claim, ids

FAR = 1 << 40
"""Where the engine may think that nothing is left to find: the store's own mark is then what counts."""
RELAYS = 4
ROUNDS = 60


@pytest.fixture
async def outbox(db: Database) -> Database:
    """A table with the indexes of the ordering."""
    await asyncio.to_thread(migrate.up, db.url, only="ordering")
    return db


@pytest.fixture
async def stores(outbox: Database) -> AsyncIterator[list[PostgresStore]]:
    """Those of several relays."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(a_store(outbox.url, ordered=True)) for _ in range(RELAYS)]


async def test_claims_of_many_relays_at_once_never_take_a_row_before_an_earlier_one(
    outbox: Database, stores: list[PostgresStore]
) -> None:
    """Each relay checks at every claim that what came before its rows is settled, as it alone could then know."""
    luck = Random(1)
    keys = {row_id: number % 7 for number, row_id in enumerate(await outbox.insert(n=700, key=lambda n: f"k{n % 7}"))}
    settled: set[int] = set()

    async def relay(store: PostgresStore) -> None:
        while len(settled) < len(keys):
            taken = await store.claim(limit=luck.randint(1, 20), low=luck.choice([0, 1]))
            for row in taken.rows:
                earlier = {other for other, key in keys.items() if key == keys[row.id] and other < row.id}
                assert earlier <= settled | set(ids(taken)), f"row {row.id} was taken too early"
            await asyncio.sleep(0)
            marks: list[Mark] = [
                Sent(row.id, row.message_id) if luck.random() < 0.8 else Release(row.id) for row in taken.rows
            ]
            broken = {keys[mark.row_id]: mark.row_id for mark in reversed(marks) if isinstance(mark, Release)}
            kept = [mark for mark in marks if mark.row_id < broken.get(keys[mark.row_id], 1 << 60)]
            given_back: list[Mark] = [Release(mark.row_id) for mark in marks if mark not in kept]
            settled.update(mark.row_id for mark in kept)
            if marks:
                await store.settle(taken.token, [*kept, *given_back])

    async with asyncio.timeout(60):
        await asyncio.gather(*map(relay, stores))
    assert await outbox.statuses() == {"sent": len(keys)}


async def test_a_row_is_given_back_when_an_earlier_one_was_locked_in_the_moment_of_the_claim(
    outbox: Database, stores: list[PostgresStore]
) -> None:
    """Its late owner is just marking it, perhaps to wait: then nothing may go out behind it."""
    first, second = await outbox.insert(n=2, key="a")
    (other,) = await outbox.insert(key="b")
    keeper = await outbox.connect()
    async with keeper.transaction():
        await keeper.execute("SELECT FROM outbox.message WHERE id = %s FOR NO KEY UPDATE", (first,))
        assert ids(await claim(stores[0])) == [other]
    rows = await outbox.fetch("SELECT claims, claimed_until FROM {table} WHERE id = ANY(%s)", ([first, second],))
    assert rows == [(0, None), (0, None)]
    assert ids(await claim(stores[0])) == [first, second]


async def test_a_key_may_hold_anything_and_be_empty(outbox: Database, stores: list[PostgresStore]) -> None:
    """Also where a language would sort otherwise, and where a key is longer than what is read of it."""
    strange = ["", " ", "\x01", "ä", "Z", "z", "a\x01", "%s", "x" * 1200, "x" * 1200 + "y", "'"]
    given = await outbox.insert(n=len(strange), key=lambda number: strange[number])
    assert ids(await claim(stores[0])) == given


async def test_a_million_rows_behind_a_blocked_key_cost_a_claim_nothing(
    outbox: Database, stores: list[PostgresStore]
) -> None:
    """Counted in pages that a claim touches, scaled down to thirty thousand."""
    (first,) = await outbox.insert(key="busy")
    taken = await claim(stores[0])
    await stores[0].settle(taken.token, [Retry(first, Refusal.REJECTED, 3600.0, "full")])
    await outbox.fetch(
        "INSERT INTO {table} (routing_key, key, payload) SELECT 'x', 'busy', '{{}}' FROM generate_series(1, 30000)"
    )
    (other,) = await outbox.insert(key="calm")
    await stores[1].ready()

    async def pages() -> int:
        await outbox.fetch("SELECT pg_stat_force_next_flush()")
        query = "SELECT idx_blks_hit + idx_blks_read + heap_blks_hit + heap_blks_read FROM pg_statio_user_tables"
        ((count,),) = await outbox.fetch(query + " WHERE relname = 'message'")
        return int(count)

    before = await pages()
    assert ids(await claim(stores[1])) == [other]
    await stores[1].close()  # a session tells the statistics at its end

    async def told() -> int:
        now = await pages()
        assert now > before
        return now

    assert await eventually(told) - before < 200


async def carried(outbox: Database, store: PostgresStore) -> None:
    """A relay busy with other keys for longer than it takes it to pass by what is done."""
    await outbox.insert(n=3, key="other")
    ends_at = time.monotonic() + 4 * LATE_COMMIT_S
    while time.monotonic() < ends_at:
        await outbox.insert(key="other")
        taken = await store.claim(limit=10, low=FAR)
        await store.settle(taken.token, [Sent(row.id, row.message_id) for row in taken.rows])
        await asyncio.sleep(0.1)


async def test_a_row_whose_transaction_was_slow_comes_before_the_next_of_its_key(
    outbox: Database, stores: list[PostgresStore]
) -> None:
    """Its producer holds the turn of the key until the commit, so ids are in order of commits."""
    producer = await outbox.connect()
    async with producer.transaction():
        insert = "INSERT INTO outbox.message (routing_key, key, payload) VALUES ('x', 'slow', '{}') RETURNING id"
        ((slow,),) = await (await producer.execute(insert)).fetchall()
        await carried(outbox, stores[0])
    (after,) = await outbox.insert(key="slow")
    assert ids(await stores[0].claim(limit=10, low=FAR)) == [slow, after]


async def test_a_failed_row_that_is_requeued_comes_before_those_that_it_stopped(outbox: Database) -> None:
    (failed,) = await outbox.insert(key="a")
    async with a_store(outbox.url, ordered=True, failed_blocks_key=True) as store:
        taken = await claim(store)
        await store.settle(taken.token, [Failed(failed, Refusal.INVALID, "no")])
        (behind,) = await outbox.insert(key="a")
        await carried(outbox, store)
        assert await store.requeue() == 1
        assert ids(await store.claim(limit=10, low=FAR)) == [failed, behind]


async def test_nobody_but_who_writes_to_the_table_holds_back_where_a_claim_begins(
    outbox: Database, stores: list[PostgresStore]
) -> None:
    """What is dead below is passed by under any old snapshot, also that of a long transaction that writes elsewhere."""
    await outbox.fetch("CREATE TABLE public.elsewhere (n integer)")
    (below,) = await outbox.insert(key="a")
    await outbox.fetch("DELETE FROM {table}")
    keeper = await outbox.connect()
    async with keeper.transaction():
        await keeper.execute("INSERT INTO public.elsewhere SELECT count(*) FROM outbox.message")
        await carried(outbox, stores[0])
        values = "(id, key, routing_key, payload) OVERRIDING SYSTEM VALUE VALUES (%s, 'a', 'x', '{{}}')"
        await outbox.fetch("INSERT INTO {table} " + values, (below,))
        (latest,) = await outbox.insert(key="other")
        assert ids(await stores[0].claim(limit=10, low=FAR)) == [latest]
    assert ids(await claim(stores[0])) == [below]
