"""What a claim takes, in which order, and what it leaves."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest
from psycopg import sql

from relay.model import Refusal, Release, Retry
from tests.builders import Database, eventually
from tests.stores import a_store, claim, drained, ids, row


async def test_a_claim_takes_the_oldest_due_rows_in_order_of_id(db: Database) -> None:
    given = await db.insert(n=30)
    async with a_store(db.url) as store:
        taken = await claim(store, limit=20)
        assert (ids(taken), taken.more) == (given[:20], True)
        taken = await claim(store, limit=20)
        assert (ids(taken), taken.more) == (given[20:], False)
        taken = await claim(store, limit=20)
        assert (ids(taken), taken.more) == ([], False)


async def test_retried_rows_come_in_order_of_id_too(db: Database) -> None:
    given = await db.insert(n=100)
    async with a_store(db.url) as store:
        first = await claim(store, limit=3)
        await store.settle(first.token, [Retry(row_id, Refusal.REJECTED, 0.0, "rejected: x") for row_id in ids(first)])
        # Their new versions now stand behind all the others on disk.
        assert ids(await claim(store)) == given


async def test_a_claim_leaves_the_lease_and_its_token_on_the_row(db: Database) -> None:
    (row_id,) = await db.insert()
    async with a_store(db.url, lease_s=60.0) as store:
        taken = await claim(store)
    token, claims = await row(db, row_id, "claim_token", "claims")
    ((left_s,),) = await db.fetch("SELECT extract(epoch FROM claimed_until - now())::float8 FROM {table}")
    assert (token, claims) == (taken.token, 1)
    assert 50 < left_s <= 60
    assert taken.rows[0].claims == 1


async def test_every_column_reaches_the_row(db: Database) -> None:
    await db.insert(
        exchange="orders",
        routing_key="order.created",
        key="customer-7",
        payload={"total": 12},
        content_type="application/vnd.order+json",
        headers={"tenant": "a"},
        properties={"type": "order"},
        created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    )
    ((message_id,),) = await db.fetch("SELECT message_id::text FROM {table}")
    async with a_store(db.url) as store:
        (taken,) = (await claim(store)).rows
    assert (taken.message_id, taken.exchange, taken.routing_key, taken.key) == (
        message_id,
        "orders",
        "order.created",
        "customer-7",
    )
    assert (taken.payload, taken.payload_bytes) == (b'{"total": 12}', 13)
    assert (taken.content_type, taken.headers, taken.properties) == (
        "application/vnd.order+json",
        '{"tenant": "a"}',
        '{"type": "order"}',
    )
    assert taken.created_at == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC).timestamp()
    assert (taken.claims, taken.failures, taken.doubtful) == (1, 0, False)


async def test_the_low_mark_skips_what_lies_below_it(db: Database) -> None:
    given = await db.insert(n=10)
    async with a_store(db.url) as store:
        assert ids(await claim(store, low=given[4])) == given[4:]
        assert ids(await claim(store)) == given[:4]


async def test_a_row_of_an_open_or_rolled_back_transaction_is_not_claimed(db: Database) -> None:
    producer = await db.connect()
    async with a_store(db.url) as store:
        async with producer.transaction(force_rollback=True):
            await producer.execute("INSERT INTO outbox.message (routing_key, payload) VALUES ('a', '{}')")
            assert ids(await claim(store)) == []
        assert ids(await claim(store)) == []


async def test_a_row_that_commits_late_is_found_below_later_ids(db: Database) -> None:
    producer = await db.connect()
    async with a_store(db.url) as store:
        async with producer.transaction():
            await producer.execute("INSERT INTO outbox.message (routing_key, payload) VALUES ('late', '{}')")
            (later,) = await db.insert()
            assert ids(await claim(store)) == [later]
        (late,) = (await claim(store)).rows
    assert (late.routing_key, late.id < later) == ("late", True)


async def test_a_delayed_row_waits_for_its_time(db: Database) -> None:
    now = datetime.now(UTC)
    await db.insert(available_at=now + timedelta(hours=1))
    (due,) = await db.insert(available_at=now - timedelta(hours=1))
    async with a_store(db.url) as store:
        taken = await claim(store)
    assert ids(taken) == [due]
    assert taken.rows[0].waited_s == pytest.approx(3600, abs=60)


async def test_a_retry_waits_as_long_as_it_was_told_and_its_row_stays_as_old_as_it_is(db: Database) -> None:
    now = datetime.now(UTC)
    (row_id,) = await db.insert(created_at=now - timedelta(hours=1))
    async with a_store(db.url) as store:
        taken = await claim(store)
        await store.settle(taken.token, [Retry(row_id, Refusal.REJECTED, 600.0, "rejected: x")])
        assert ids(await claim(store)) == []
        await db.fetch("UPDATE {table} SET available_at = now()")
        (again,) = (await claim(store)).rows
    assert (again.claims, again.failures, again.unanswered) == (2, 1, 0)
    assert again.waited_s == pytest.approx(3600, abs=60)


async def test_a_lease_that_ran_out_frees_the_row_and_the_count_of_claims_tells(db: Database) -> None:
    (row_id,) = await db.insert()
    async with a_store(db.url) as store:
        await claim(store)
        assert ids(await claim(store)) == []
        await db.fetch("UPDATE {table} SET claimed_until = now() - interval '1 second'")
        (again,) = (await claim(store)).rows
    assert (again.id, again.claims, again.unanswered) == (row_id, 2, 1)


async def test_a_row_with_a_note_of_doubt_is_doubtful(db: Database) -> None:
    sure, doubted = await db.insert(n=2)
    async with a_store(db.url) as store:
        taken = await claim(store)
        await store.settle(taken.token, [Release(sure), Release(doubted, doubt="connection lost")])
        again = await claim(store)
    assert [(each.id, each.doubtful, each.claims) for each in again.rows] == [(sure, False, 1), (doubted, True, 1)]


async def test_two_stores_never_claim_the_same_row(db: Database) -> None:
    given = await db.insert(n=2000)
    async with a_store(db.url) as one, a_store(db.url) as two, a_store(db.url) as three:
        parts = await asyncio.gather(*(drained(store, limit=37) for store in (one, two, three)))
    assert sorted(chain(*parts)) == given
    assert all(parts), "one of the stores got nothing, so nothing was shown"


async def test_a_locked_row_is_passed_by(db: Database) -> None:
    given = await db.insert(n=3)
    other = await db.connect()
    async with a_store(db.url) as store, other.transaction():
        await other.execute("SELECT FROM outbox.message WHERE id = %s FOR UPDATE", (given[0],))
        assert ids(await claim(store)) == given[1:]


async def test_a_limit_is_a_limit_with_any_plan(db: Database) -> None:
    await db.insert(n=200)
    await db.fetch(
        sql.SQL("ALTER DATABASE {} SET enable_hashjoin = off; ALTER DATABASE {} SET enable_mergejoin = off").format(
            sql.Identifier(db.name), sql.Identifier(db.name)
        )
    )
    await db.fetch(sql.SQL("ALTER DATABASE {} SET enable_material = off").format(sql.Identifier(db.name)))
    async with a_store(db.url) as store:
        assert len((await claim(store, limit=10)).rows) == 10
    assert await db.fetch("SELECT count(*) FROM {table} WHERE claims > 0") == [(10,)]


async def test_a_claim_on_an_empty_table_finds_nothing(db: Database) -> None:
    async with a_store(db.url) as store:
        taken = await claim(store)
    assert (taken.rows, taken.more) == ((), False)


async def test_times_beyond_every_calendar_spoil_no_claim(db: Database) -> None:
    (first,) = await db.insert(available_at="-infinity", created_at="infinity")
    (second,) = await db.insert(available_at="4000-01-01 BC", created_at="20000-01-01")
    await db.insert(available_at="infinity")
    async with a_store(db.url) as store:
        taken = await claim(store)
        sample = await store.backlog()
    assert ids(taken) == [first, second]
    assert [each.waited_s for each in taken.rows] == [1e9, 1e9]
    assert [datetime.fromtimestamp(each.created_at, UTC).year for each in taken.rows] == [9999, 9999]
    assert (sample.pending, sample.oldest_age_s) == (3, 1e9)


async def test_a_claim_is_on_disk_before_it_returns_whatever_the_login_prefers(db: Database) -> None:
    """Rows a crash of Postgres would erase must not be published, and the claim's commit is what proves them."""
    name = sql.Identifier(db.name)
    for setting in ("synchronous_commit = off", "default_transaction_isolation = 'repeatable read'"):
        await db.fetch(sql.SQL("ALTER DATABASE {} SET " + setting).format(name))
    await db.insert(n=3)
    # A deferred trigger runs in the claim's own transaction, at its very end.
    await db.fetch(
        "CREATE TABLE seen (synchronous_commit text, isolation text, read_only text);"
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES ("
        "current_setting('synchronous_commit'), current_setting('transaction_isolation'),"
        "current_setting('transaction_read_only')); RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER look AFTER UPDATE ON outbox.message DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION look()"
    )
    async with a_store(db.url) as store:
        await claim(store)
    assert await db.fetch("SELECT DISTINCT * FROM seen") == [("on", "read committed", "off")]


async def test_nothing_of_a_claim_stays_with_the_session(db: Database) -> None:
    """So that a transaction pooler may stand between: no setting, no lock; and the plan is kept where none stands."""
    await db.insert(n=20)
    settings = "SELECT name FROM pg_settings WHERE source = 'session' AND name NOT LIKE 'transaction%'"
    held = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
    async with a_store(db.url, pool_size=1) as store:
        for _ in range(8):
            taken = await claim(store, limit=2)
            await store.renew(taken.token, ids(taken))
            await store.settle(taken.token, [Release(row_id) for row_id in ids(taken)])
            await store.backlog()
        async with store._connections.connection("ping", 5.0) as conn:
            prepared = await (await conn.execute("SELECT count(*) FROM pg_prepared_statements")).fetchall()
            left = await (await conn.execute(settings)).fetchall()
            locks = await (await conn.execute(held)).fetchall()
    assert (prepared, left, locks) == ([(1,)], [], [(0,)])


async def test_a_cancelled_claim_gives_its_connection_back(db: Database) -> None:
    (row_id,) = await db.insert()
    other = await db.connect()
    async with a_store(db.url, pool_size=1) as store:
        await store.ready()
        async with other.transaction():
            await other.execute("LOCK TABLE outbox.message")
            waiting = asyncio.create_task(claim(store))
            await eventually(lambda: waits(db))
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert ids(await claim(store)) == [row_id]


async def test_a_cancellation_that_comes_together_with_the_connection_is_obeyed(db: Database) -> None:
    """Forgotten, it would leave the sampler at its work, and the relay that stops would wait for it."""
    async with a_store(db.url, pool_size=1) as store:
        await store.ping()
        pool = store._connections._pool
        assert pool is not None

        async def cancel(task: asyncio.Task[float], after: int) -> bool:
            for _ in range(after):
                await asyncio.sleep(0)
            return task.cancel()

        ends = []
        for after in range(40):
            async with store._connections.connection("ping", 5.0):
                waiting = asyncio.create_task(store.ping())
                await eventually(lambda: pool.get_stats()["requests_waiting"] == 1)
                cancelling = asyncio.create_task(cancel(waiting, after))
            ends.append((await cancelling, (await asyncio.gather(waiting, return_exceptions=True))[0]))
        assert all(isinstance(end, asyncio.CancelledError) for cancelled, end in ends if cancelled)
        assert any(cancelled for cancelled, _ in ends)
        await store.ping()


async def waits(db: Database) -> bool:
    """Whether a session waits for a lock."""
    return bool(await db.fetch("SELECT pid FROM pg_locks WHERE NOT granted"))


async def test_each_operation_tells_its_time(db: Database) -> None:
    told: list[str] = []
    await db.insert()
    async with a_store(db.url, lambda op, seconds: told.append(op) if 0 < seconds < 10 else None) as store:
        taken = await claim(store)
        await store.renew(taken.token, ids(taken))
        await store.settle(taken.token, [Release(ids(taken)[0])])
        await store.backlog()
        await store.ping()
    assert told == ["ready", "claim", "renew", "settle", "backlog", "ping"]
