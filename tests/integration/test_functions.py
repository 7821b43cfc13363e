"""The SQL functions that an operator or a timer calls."""

import asyncio
from datetime import timedelta

import pytest
from psycopg import sql

from tests.builders import Database, eventually
from tests.stores import a_store, claim, ids, row

HOUR = timedelta(hours=1)


BY_AGE = "UPDATE {table} SET status = 'sent', sent_at = now() - %s::interval WHERE id = ANY (%s)"


async def sent(db: Database, n: int, age: str = "1 day") -> list[int]:
    """Rows that were sent that long ago."""
    given = await db.insert(n=n)
    await db.fetch(
        "UPDATE {table} SET status = 'sent', sent_at = now() - %s::interval WHERE id = ANY (%s)", (age, given)
    )
    return given


async def failed(db: Database, n: int, age: str = "1 day", error: str = "unroutable: nobody listens") -> list[int]:
    """Rows that were given up that long ago."""
    given = await db.insert(n=n)
    await db.fetch(
        "UPDATE {table} SET status = 'failed', claims = 9, failures = 9, last_error = %s,"
        " available_at = now() - %s::interval, claimed_until = NULL WHERE id = ANY (%s)",
        (error, age, given),
    )
    return given


async def left(db: Database) -> list[int]:
    """The ids in the table."""
    return [row_id for (row_id,) in await db.fetch("SELECT id FROM {table} ORDER BY id")]


async def number(db: Database, call: str) -> object:
    """What a call of a function returns."""
    ((value,),) = await db.fetch(sql.SQL("SELECT outbox." + call))
    return value


async def test_delete_sent_deletes_the_oldest_and_at_most_so_many(db: Database) -> None:
    young = await sent(db, 2, "10 minutes")
    old = await sent(db, 3, "2 hours")
    oldest = await sent(db, 2, "3 hours")
    assert await number(db, "delete_sent('1 hour', 3)") == 3
    assert await left(db) == young + [each for each in old if each in await left(db)]
    assert not set(oldest) & set(await left(db))
    assert await number(db, "delete_sent('1 hour', 3)") == 2
    assert await number(db, "delete_sent('1 hour', 3)") == 0
    assert await left(db) == young


async def test_nothing_but_sent_rows_is_deleted_by_delete_sent(db: Database) -> None:
    kept = await db.insert(created_at="2020-01-01", available_at="2020-01-01") + await failed(db, 1, "1 year")
    await sent(db, 1)
    assert await number(db, "delete_sent('0', 100)") == 1
    assert await left(db) == kept


async def test_delete_failed_goes_by_the_time_of_giving_up(db: Database) -> None:
    kept = await failed(db, 1, "10 minutes")
    await db.fetch("UPDATE {table} SET created_at = now() - interval '1 year'")
    await failed(db, 3, "2 hours")
    kept += await db.insert(available_at="2020-01-01") + await sent(db, 1)
    assert await number(db, "delete_failed('1 hour', 2)") == 2
    assert await number(db, "delete_failed('1 hour', 2)") == 1
    assert await left(db) == kept


@pytest.mark.parametrize("call", ["delete_sent('1 hour', 0)", "delete_sent('1 hour', -5)", "delete_failed('0', -1)"])
async def test_no_rows_asked_for_are_no_rows_touched(db: Database, call: str) -> None:
    await sent(db, 1)
    await failed(db, 1)
    assert await number(db, call) == 0
    assert len(await left(db)) == 2


async def test_one_session_deletes_at_a_time(db: Database) -> None:
    await sent(db, 4)
    other = await db.connect()
    async with other.transaction():
        await other.execute("SELECT outbox.delete_sent('1 hour', 1)")
        assert await number(db, "delete_sent('1 hour', 10)") == 0
        assert await number(db, "delete_failed('1 hour', 10)") == 0
    assert await number(db, "delete_sent('1 hour', 10)") == 3


async def test_a_row_in_use_is_passed_by(db: Database) -> None:
    given = await sent(db, 3)
    other = await db.connect()
    async with other.transaction():
        await other.execute("SELECT FROM outbox.message WHERE id = %s FOR SHARE", (given[1],))
        assert await number(db, "delete_sent('1 hour', 10)") == 2


async def test_a_requeued_row_is_as_new_but_for_the_doubt(db: Database) -> None:
    (row_id,) = await failed(db, 1)
    assert await number(db, "requeue_failed(10)") == 1
    assert await row(db, row_id, "status", "claims", "failures", "claimed_until") == ("pending", 0, 0, None)
    async with a_store(db.url) as store:
        (again,) = (await claim(store)).rows
    assert (again.claims, again.failures, again.unanswered, again.doubtful) == (1, 0, 0, True)
    assert again.waited_s < 60


async def test_requeue_takes_the_first_or_the_named_or_those_of_a_reason(db: Database) -> None:
    unroutable = await failed(db, 3)
    rejected = await failed(db, 2, error="rejected: full")
    assert await number(db, "requeue_failed(2)") == 2
    assert await number(db, "requeue_failed(10, reason => 'rejected')") == 2
    assert await number(db, "requeue_failed(10, ARRAY[1, 2])") == 0
    assert await number(db, f"requeue_failed(10, ARRAY[{unroutable[2]}], 'unroutable')") == 1
    async with a_store(db.url) as store:
        assert ids(await claim(store)) == unroutable + rejected


async def test_cleanup_and_requeue_of_the_store_go_on_until_nothing_is_left(db: Database) -> None:
    await sent(db, 25)
    await failed(db, 25)
    async with a_store(db.url) as store:
        assert await store.cleanup(HOUR, batch=10, dry_run=True) == 25
        assert await store.cleanup(HOUR, batch=10) == 25
        assert await store.requeue(limit=12, batch=5, dry_run=True) == 12
        assert await store.requeue(limit=12, batch=5) == 12
        assert await store.requeue(dry_run=True) == 13
        assert await store.cleanup(HOUR, failed=True, batch=10, dry_run=True) == 13
        assert await store.cleanup(HOUR, failed=True, batch=10) == 13
    assert await db.statuses() == {"pending": 12}


@pytest.mark.parametrize("of_failed", [False, True])
async def test_a_cleanup_waits_while_another_session_deletes(db: Database, of_failed: bool) -> None:  # noqa: FBT001
    """Its turn comes; it would else report that there was nothing to delete."""
    await (failed if of_failed else sent)(db, 25)
    other = await db.connect()
    async with a_store(db.url) as store:
        async with other.transaction():
            await other.execute("SELECT outbox.delete_sent('1 hour', 1), outbox.delete_failed('1 hour', 1)")
            cleanup = asyncio.create_task(store.cleanup(HOUR, failed=of_failed, batch=10))

            async def waits() -> None:
                assert await db.fetch("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'") == [(1,)]

            await eventually(waits)
        assert await cleanup == 24


async def test_a_cleanup_does_not_disturb_claims(db: Database) -> None:
    await sent(db, 500)
    given = await db.insert(n=500)
    async with a_store(db.url) as store, a_store(db.url) as keeper:
        taken, deleted = await asyncio.gather(claim(store), keeper.cleanup(HOUR, batch=50))
    assert (ids(taken), deleted) == (given, 500)
