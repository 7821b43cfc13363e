"""What a crash of Postgres erases: never what was handed to anybody, and of the marks nothing for good."""

import asyncio
from collections.abc import Callable

from services.find import OwnPostgres
from tests.builders import Database
from tests.stores import SLOW_WAL, a_store, claim, ids, send_all

OwnDatabaseMaker = Callable[..., tuple[OwnPostgres, Database]]


async def commit_without_waiting(db: Database, routing_key: str) -> None:
    """Commit a row as a producer with synchronous_commit = off does."""
    producer = await db.connect()
    async with producer.transaction():
        await producer.execute("SET LOCAL synchronous_commit = off")
        insert = "INSERT INTO outbox.message (routing_key, payload) VALUES (%s, '{}')"
        await producer.execute(insert, (routing_key,))


async def test_a_claimed_row_survives_a_crash_although_its_producer_did_not_wait_for_the_disk(
    own_database: OwnDatabaseMaker,
) -> None:
    server, db = await asyncio.to_thread(lambda: own_database(durable=True, settings=SLOW_WAL))
    try:
        async with a_store(db.url) as store:
            await store.ready()
            await commit_without_waiting(db, "claimed")
            taken = await claim(store)
            assert len(taken.rows) == 1
            await commit_without_waiting(db, "not claimed")
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            found = await db.fetch("SELECT id, routing_key, claims FROM {table}")
        # That the other one is gone shows that the crash was one.
        assert found == [(ids(taken)[0], "claimed", 1)]
    finally:
        await db.close()


async def test_marks_that_a_crash_undoes_are_written_again_and_no_row_is_claimed_twice(
    own_database: OwnDatabaseMaker,
) -> None:
    server, db = await asyncio.to_thread(lambda: own_database(durable=True, settings=SLOW_WAL))
    await db.insert(n=5)
    await db.close()  # its connection would not survive
    async with a_store(db.url) as store:
        await store.ready()
        await send_all(store)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        assert await db.statuses() == {"pending": 5}
        # The pool replaces the dead connection without a word, and the rows are still leased.
        assert (await store.claim(limit=10, low=0)).rows == ()
        await store.ready()
        assert await db.statuses() == {"sent": 5}
