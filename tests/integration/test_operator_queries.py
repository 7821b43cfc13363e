"""The questions in sql/queries can be asked."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.model import Failed, Refusal, Retry
from services.find import OwnPostgres
from tests.builders import Database
from tests.stores import a_store, claim

QUERIES = sorted((Path(__file__).parents[2] / "sql" / "queries").glob("*.sql"))


@pytest.fixture
async def busy(db: Database) -> Database:
    """A table with a row of every kind."""
    given = await db.insert(n=4, payload={"card": "4111"}, headers={"secret": "hunter2"})
    async with a_store(db.url) as store:
        taken = await claim(store, limit=3)
        error = "unroutable: nobody listens"
        retry = Retry(given[0], Refusal.UNROUTABLE, 60.0, error)
        await store.settle(taken.token, [retry, Failed(given[1], Refusal.UNROUTABLE, error)])
    return db


async def ask(db: Database, name: str) -> list[tuple[object, ...]]:
    """The rows of that query."""
    (path,) = [each for each in QUERIES if each.stem == name]
    connection = await db.connect()
    return await (await connection.execute(path.read_bytes())).fetchall()


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
async def test_a_query_shows_no_content(busy: Database, path: Path) -> None:
    found = str(await ask(busy, path.stem))
    assert "4111" not in found
    assert "hunter2" not in found


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_a_query_says_what_it_is_for(path: Path) -> None:
    assert path.read_text().startswith("-- ")


async def test_the_backlog_is_counted(busy: Database) -> None:
    assert await ask(busy, "backlog") == [(3, 1, 1)]


async def test_the_oldest_come_first(busy: Database) -> None:
    assert [(row[0], row[5]) for row in await ask(busy, "oldest")] == [(1, None), (3, True), (4, None)]


async def test_failures_are_grouped_by_their_reason(busy: Database) -> None:
    found = await ask(busy, "failures_by_error")
    assert sorted(row[:3] for row in found) == [("failed", "unroutable", 1), ("pending", "unroutable", 1)]


async def test_a_holder_of_a_lock_and_of_a_snapshot_is_found(busy: Database) -> None:
    other = await busy.connect()
    async with other.transaction():
        await other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await other.execute("SELECT 1 FROM outbox.message")
        ((pid,),) = await (await other.execute("SELECT pg_backend_pid()")).fetchall()
        assert pid in [row[0] for row in await ask(busy, "who_holds_locks")]
        assert f"session {pid}" in [row[0] for row in await ask(busy, "old_snapshots")]


async def test_holders_of_snapshots_are_those_that_the_relay_tells(
    own_database: Callable[..., tuple[OwnPostgres, Database]],
) -> None:
    settings = {"autovacuum": "off", "max_prepared_transactions": "1", "wal_level": "logical"}
    _, db = await asyncio.to_thread(own_database, settings=settings)
    await db.fetch("SELECT pg_create_logical_replication_slot('changes', 'pgoutput')")
    reader = await db.connect()
    await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await reader.execute("SELECT count(*) FROM pg_class")
    await db.insert(n=2)
    other = await db.connect()
    await other.execute("BEGIN")
    await other.execute("CREATE TABLE theirs ()")
    await other.execute("PREPARE TRANSACTION 'order 17'")
    await db.insert(n=2)
    found = await ask(db, "old_snapshots")
    assert [row[:2] for row in found] == [
        (f"session {reader.info.backend_pid}", ""),
        ("prepared transaction", "order 17"),
    ]
    async with a_store(db.url) as store:
        told = (await store.health()).snapshots
    assert [held.transactions for held in told] == [row[2] for row in found]
