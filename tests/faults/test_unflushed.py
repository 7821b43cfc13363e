"""Marks that are not on disk yet are kept in memory until they are, whatever happens before a crash of Postgres."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from relay.ports import StoreUnavailable
from services.find import OwnPostgres
from tests.builders import Database
from tests.stores import SLOW_WAL, a_store, claim, ids, send_all

END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'outbox-relay'"


@pytest.fixture
async def outbox(
    own_database: Callable[..., tuple[OwnPostgres, Database]],
) -> tuple[OwnPostgres, Database]:
    """Five rows in a database that is slow to write its log."""
    server, db = await asyncio.to_thread(lambda: own_database(durable=True, settings=SLOW_WAL))
    await db.insert(n=5)
    return server, db


async def crash(server: OwnPostgres, db: Database) -> None:
    """Kill it, start it again, and see that it was a crash."""
    await db.close()  # its connection would not survive
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    assert await db.statuses() == {"pending": 5}


async def test_a_claim_after_the_crash_does_not_make_the_marks_before_it_forgotten(
    outbox: tuple[OwnPostgres, Database],
) -> None:
    server, db = outbox
    async with a_store(db.url) as store:
        await store.ready()
        await send_all(store)
        await crash(server, db)
        (fresh,) = await db.insert()
        assert ids(await claim(store)) == [fresh]
        await store.ready()
        assert await db.statuses() == {"pending": 1, "sent": 5}


async def test_marks_that_were_there_when_asked_again_are_kept_until_they_are_on_disk(
    outbox: tuple[OwnPostgres, Database],
) -> None:
    """A statement that changes nothing waits for no disk, so to find them there proves nothing."""
    server, db = outbox
    async with a_store(db.url) as store:
        await store.ready()
        await send_all(store)
        await db.fetch(END_SESSIONS)
        with suppress(StoreUnavailable):  # a dead connection is found before it is used, or by its use
            await claim(store)
        await store.ready()
        await crash(server, db)
        assert ids(await claim(store)) == []
        await store.ready()
        assert await db.statuses() == {"sent": 5}
