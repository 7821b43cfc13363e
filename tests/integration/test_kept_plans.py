"""The plan of a claim is kept in a session that is the relay's alone, and nowhere else."""

import asyncio
from collections.abc import Callable
from typing import Any, LiteralString

import pytest

from relay import migrate
from relay.model import Fault
from relay.ports import StoreUnavailable
from relay.store import PostgresStore
from services.find import OwnPostgres
from services.pgbouncer import PgBouncer
from tests.builders import Database
from tests.stores import a_store, claim, ids, send_all

KEPT: LiteralString = (
    "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '%candidate%'"
)


async def ask(store: PostgresStore, query: LiteralString) -> list[tuple[Any, ...]]:
    """What the store's own session answers; it has one only."""
    async with store._connections.connection("ping", 5.0) as connection:
        cursor = await connection.execute(query)
        return await cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize("ordered", [False, True])
async def test_claims_are_planned_once_whatever_their_numbers(db: Database, *, ordered: bool) -> None:
    await asyncio.to_thread(migrate.up, db.url, only="ordering")
    given = await db.insert(n=3)
    async with a_store(db.url, pool_size=1, ordered=ordered) as store:
        taken = [await claim(store, limit=limit, low=low) for limit, low in ((1, 0), (40_000, 2), (2, 1), (1, 2**40))]
        assert sorted(row_id for each in taken for row_id in ids(each)) == given
        # With order per key a claim for which no row was chosen is not made.
        assert await ask(store, KEPT) == [(2 if ordered else 4, 0)]


async def test_behind_a_pooler_no_plan_is_kept(
    own_database: Callable[..., tuple[OwnPostgres, Database]], own_pgbouncer: Callable[..., PgBouncer]
) -> None:
    server, db = await asyncio.to_thread(own_database)
    pooler = await asyncio.to_thread(own_pgbouncer, server)
    async with a_store(pooler.url(db.name), pool_size=1) as store:
        for _ in range(8):  # psycopg would prepare what comes for the sixth time
            given = await db.insert(n=2)
            assert ids(await send_all(store)) == given
            await store.backlog()
        assert await ask(store, "SELECT statement FROM pg_prepared_statements") == []


@pytest.mark.parametrize(
    ("mischief", "told"),
    [("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$", "26000"), ("PREPARE _pg3_0 AS SELECT 1", "42P05")],
    ids=["forgets what was prepared", "knows what others prepared"],
)
async def test_a_pooler_that_hides_costs_one_claim_and_then_no_plan_is_kept(
    db: Database, mischief: LiteralString, told: str
) -> None:
    async with a_store(db.url, pool_size=1) as store:
        if told == "26000":
            await claim(store)
        await ask(store, mischief)
        given = await db.insert(n=2)
        with pytest.raises(StoreUnavailable, match=told) as caught:
            await claim(store)
        assert caught.value.fault is Fault.OTHER
        await store.ready()
        assert ids(await send_all(store)) == given
        assert await ask(store, KEPT) == []
