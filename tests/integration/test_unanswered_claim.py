"""A claim whose commit nobody answered: its rows are given back as soon as the database is there again."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import pytest

from relay.ports import StoreUnavailable
from services.proxy import Proxy
from tests.builders import Database, eventually
from tests.stores import a_store

SLOW_COMMIT = """
CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER dawdle AFTER UPDATE ON outbox.message DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.claims > OLD.claims) EXECUTE FUNCTION public.dawdle();
"""


@pytest.fixture
async def slow(db: Database) -> Database:
    """A row whose claim takes a second to commit."""
    await db.insert()
    await (await db.connect()).execute(SLOW_COMMIT)
    return db


async def committing(db: Database) -> None:
    """Wait until a claim is being committed."""

    async def seen() -> None:
        found = await db.fetch(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event = 'PgSleep' AND upper(query) LIKE 'COMMIT%'"
        )
        assert found == [(1,)]

    await eventually(seen)


async def claims(db: Database) -> list[tuple[object, ...]]:
    """How often the row was taken, and whether it is leased."""
    return await db.fetch("SELECT claims, claimed_until IS NOT NULL FROM {table}")


async def claimed(db: Database) -> None:
    """Wait until the claim is committed."""

    async def seen() -> None:
        assert await claims(db) == [(1, True)]

    await eventually(seen)


async def test_a_claim_whose_commit_was_not_answered_is_given_back(
    slow: Database, proxy: Callable[[str, int], Awaitable[Proxy]]
) -> None:
    server = urlsplit(slow.url)
    assert server.hostname
    assert server.port
    between = await proxy(server.hostname, server.port)
    async with a_store(between.url(slow.url)) as store:
        await store.ready()
        claim = asyncio.create_task(store.claim(limit=10, low=0))
        await committing(slow)
        between.reset_all()
        with pytest.raises(StoreUnavailable):
            await claim
        await claimed(slow)
        await store.ready()
        assert await claims(slow) == [(0, False)]


async def test_a_claim_that_is_cancelled_is_given_back_when_the_store_closes(slow: Database) -> None:
    async with a_store(slow.url) as store:
        await store.ready()
        claim = asyncio.create_task(store.claim(limit=10, low=0))
        await committing(slow)
        claim.cancel()
        await asyncio.wait({claim})
    assert await claims(slow) == [(0, False)]


async def waiting_for_a_lock(db: Database) -> None:
    """Wait until a statement of the store waits for the row."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    async def seen() -> None:
        assert await db.fetch(query) == [(1,)]

    await eventually(seen)


async def test_a_claim_whose_return_was_cancelled_is_still_given_back(
    slow: Database, proxy: Callable[[str, int], Awaitable[Proxy]]
) -> None:
    server = urlsplit(slow.url)
    between = await proxy(server.hostname or "", server.port or 0)
    other = await slow.connect()
    async with a_store(between.url(slow.url)) as store:
        await store.ready()
        claim = asyncio.create_task(store.claim(limit=10, low=0))
        await committing(slow)
        between.reset_all()
        await asyncio.wait({claim})
        assert isinstance(claim.exception(), StoreUnavailable)
        await claimed(slow)
        async with other.transaction():
            await other.execute("SELECT FROM outbox.message FOR UPDATE")
            ready = asyncio.create_task(store.ready())
            await waiting_for_a_lock(slow)
            ready.cancel()
            await asyncio.wait({ready})
        assert await claims(slow) == [(1, True)]
        await store.ready()
        assert await claims(slow) == [(0, False)]


async def test_a_store_that_owes_nothing_closes_without_a_word_to_the_database(db: Database) -> None:
    asked: list[str] = []
    async with a_store(db.url, lambda op, _seconds: asked.append(op)) as store:
        await store.ready()
        store._proved_at = float("-inf")  # it rested for long
    assert asked == ["ready"]
