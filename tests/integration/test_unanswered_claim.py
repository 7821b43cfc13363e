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
