"""The sample of the table's health: what it sees of the table, of who holds up vacuum, of relays and of failed rows."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

import psycopg
import pytest
from psycopg import sql

from relay import migrate
from relay.model import Failed, Fault, Health, Holder, Refusal, Replica, Snapshot
from relay.ports import StoreUnavailable
from relay.store import PostgresStore, sampling
from services import find
from services.find import OwnPostgres
from services.postgres import PostgresServer
from services.standby import Standby
from tests.builders import Database, eventually
from tests.logins import relay_login
from tests.stores import a_store, claim, recode

MakeDatabase = Callable[..., tuple[OwnPostgres, Database]]
LEFT = re.compile(r"(\d+) (?:dead row versions cannot be removed yet|are dead but not yet removable)")
"""What VACUUM says of rows that somebody may still read, before Postgres 15 and since."""
EVERYTHING = {"autovacuum": "off", "max_prepared_transactions": "5", "wal_level": "logical"}


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    """A server on which everything can be held, and nobody else holds anything."""
    server = find.own_postgres(settings=EVERYTHING)
    yield server
    server.close()


@pytest.fixture(scope="module")
def template(postgres: OwnPostgres) -> str:
    """A migrated database to copy, gone with the server."""
    postgres.create_database("migrated")
    migrate.apply(postgres.url("migrated"))
    return "migrated"


async def look(db: Database, **settings: Any) -> Health:
    """Take one sample."""
    async with a_store(db.url, **settings) as store:
        return await store.health()


@asynccontextmanager
async def an_old_snapshot(db: Database, application: str = "report") -> AsyncIterator[int]:
    """A session that may still read what dies from now on; its pid."""
    url = f"{db.url}{'&' if '?' in db.url else '?'}application_name={application}"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other:
        await other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await other.execute("SELECT count(*) FROM pg_class")
        yield other.info.backend_pid


async def write(db: Database, times: int = 3) -> None:
    """Let some transactions write."""
    for _ in range(times):
        await db.insert()


# -- the table ----------------------------------------------------------------------------------------------------


async def test_a_table_that_was_never_used_has_no_statistics_yet(db: Database) -> None:
    seen = await look(db)
    assert (seen.live_tuples, seen.dead_tuples, seen.last_autovacuum_at, seen.oldest_sent_at) == (0, 0, None, None)
    assert (seen.snapshots, seen.replicas, seen.failures, seen.complete) == ((), (), (), True)
    assert seen.sampled_at == pytest.approx(datetime.now(UTC).timestamp(), abs=60)


async def test_sizes_are_those_of_the_table_with_its_toast_and_of_its_indexes(db: Database) -> None:
    await db.insert(n=200, payload=lambda _: {"noise": token_hex(5000)})
    seen = await look(db)
    query = "SELECT pg_relation_size(%s), pg_total_relation_size(%s), pg_indexes_size(%s)"
    [(heap, total, indexes)] = await db.fetch(query, ("outbox.message",) * 3)
    assert (seen.table_bytes + seen.index_bytes, seen.index_bytes) == (total, indexes)
    assert seen.table_bytes > heap + 1_000_000


async def test_tuples_live_and_dead_are_what_the_statistics_say(db: Database) -> None:
    await db.insert(n=50)
    await db.fetch("UPDATE {table} SET claims = claims + 1 WHERE id <= 20")

    async def told() -> None:
        await db.fetch("SELECT 1")  # before Postgres 15 a session that rests does not tell the statistics
        seen = await look(db)
        assert (seen.live_tuples, seen.dead_tuples) == (50, 20)

    await eventually(told)


async def test_a_finished_autovacuum_is_told(own_database: MakeDatabase) -> None:
    _, db = await asyncio.to_thread(own_database, settings={"autovacuum_naptime": "1s"})
    assert (await look(db)).last_autovacuum_at is None
    began = datetime.now(UTC).timestamp()
    await db.insert(n=1500)
    await db.fetch("UPDATE {table} SET claims = claims + 1")

    async def vacuumed() -> None:
        await db.fetch("SELECT 1")
        at = (await look(db)).last_autovacuum_at
        assert at is not None
        assert began - 5 < at < began + 60

    await eventually(vacuumed, 40)


async def test_the_oldest_sent_row_is_found_and_found_again_after_a_cleanup(db: Database) -> None:
    now = datetime.now(UTC)
    await db.insert(n=5, status="sent", sent_at=lambda number: now - timedelta(days=5 - number))
    async with a_store(db.url) as store:

        async def days_ago() -> float:
            at = (await store.health()).oldest_sent_at
            assert at is not None
            return (now.timestamp() - at) / 86_400

        assert await days_ago() == pytest.approx(5, abs=1e-6)
        await db.fetch("DELETE FROM {table} WHERE id <= 2")
        assert await days_ago() == pytest.approx(3, abs=1e-6)
        await db.fetch("DELETE FROM {table}")
        assert (await store.health()).oldest_sent_at is None
        await db.insert(status="sent", sent_at=now)
        assert await days_ago() == pytest.approx(0, abs=1e-6)


async def test_a_dear_look_for_the_oldest_sent_row_begins_where_the_last_one_ended(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "QUICK_S", 0.0)
    monkeypatch.setattr(sampling, "WHOLE_SHARE", 1e-9)
    now = datetime.now(UTC)
    await db.insert(n=3, status="sent", sent_at=lambda number: now - timedelta(days=3 - number))
    async with a_store(db.url) as store:
        first = (await store.health()).oldest_sent_at
        await db.insert(status="sent", sent_at=now - timedelta(days=9))  # below: only a look at the whole finds it
        assert (await store.health()).oldest_sent_at == first
        monkeypatch.setattr(store._health._whole, "_at", 0.0)
        assert (await store.health()).oldest_sent_at == pytest.approx((now - timedelta(days=9)).timestamp())
        monkeypatch.setattr(store._health._whole, "_at", float("inf"))
        await db.fetch("DELETE FROM {table}")
        assert (await store.health()).oldest_sent_at is None
        await db.insert(status="sent", sent_at=now)
        assert (await store.health()).oldest_sent_at is None, "without a beginning only a look at the whole finds one"


@pytest.mark.parametrize(("schema", "table"), [('we"ird', 'we"ird'), ("a;\nb", "c;\n-- %s {} '"), ("ü" * 31, "x" * 63)])
async def test_hostile_names_are_looked_at_like_others(db: Database, schema: str, table: str) -> None:
    await asyncio.to_thread(migrate.up, db.url, schema=schema, table=table)
    insert = sql.SQL(
        "INSERT INTO {} (routing_key, payload, status, last_error) "
        "SELECT 'a', '{{}}', 'failed', 'unroutable: nobody' FROM generate_series(1, 2)"
    )
    await db.fetch(insert.format(sql.Identifier(schema, table)))
    seen = await look(db, schema=schema, table=table)
    assert [row.row_id for row in seen.failures] == [2, 1]
    assert seen.table_bytes > 0


# -- who holds up vacuum ------------------------------------------------------------------------------------------


async def dead_after_vacuum(db: Database) -> int:
    """Let some rows die, vacuum, and count what could not be removed."""
    await db.insert(n=100)
    await db.fetch("DELETE FROM {table}")
    said: list[str] = []
    connection = await db.connect()
    connection.add_notice_handler(lambda notice: said.append(f"{notice.message_primary} {notice.message_detail}"))
    await connection.execute("VACUUM (VERBOSE) outbox.message")
    [left, *_] = LEFT.findall("\n".join(said))
    return int(left)


async def test_a_session_with_an_old_snapshot_is_named_with_its_age(db: Database) -> None:
    async with an_old_snapshot(db) as pid, a_store(db.url) as store:
        await write(db)
        [first] = (await store.health()).snapshots
        assert first == Snapshot(Holder.TRANSACTION, first.transactions, first.age_s, pid, "report")
        assert first.transactions >= 3
        assert first.age_s is not None
        await write(db)
        [later] = (await store.health()).snapshots
        assert later.transactions >= first.transactions + 3
        assert first.age_s < (later.age_s or 0) < 60
        async with an_old_snapshot(db, "newer"):
            await write(db)
            [oldest] = (await store.health()).snapshots
            assert oldest.pid == pid
    assert (await look(db)).snapshots == ()


async def test_a_session_that_has_written_holds_on_between_two_statements(db: Database) -> None:
    writer = await db.connect()
    await writer.execute("BEGIN")
    await writer.execute("CREATE TABLE theirs ()")
    await write(db)
    [held] = (await look(db)).snapshots
    assert (held.holder, held.pid) == (Holder.TRANSACTION, writer.info.backend_pid)
    assert held.transactions >= 3


async def test_a_transaction_that_holds_nothing_is_not_blamed(db: Database) -> None:
    reader = await db.connect()
    await reader.execute("BEGIN")
    await reader.execute("SELECT 1")
    assert (await look(db)).snapshots == ()


async def test_what_reads_in_another_database_is_not_blamed_and_what_writes_there_is(
    postgres: OwnPostgres, db: Database
) -> None:
    """Each snapshot reaches back to the oldest transaction that writes, wherever that is."""
    elsewhere = Database(postgres.url("postgres"), "postgres")
    async with an_old_snapshot(elsewhere):
        await write(db)
        assert (await look(db)).snapshots == ()
        assert await dead_after_vacuum(db) == 0
    async with await psycopg.AsyncConnection.connect(elsewhere.url, autocommit=True) as writer:
        await writer.execute("BEGIN")
        await writer.execute("CREATE TABLE theirs ()")
        await write(db)
        async with an_old_snapshot(db, "inherits"):
            [held] = (await look(db)).snapshots
            assert held.pid == writer.info.backend_pid, "the one behind the other"
            assert await dead_after_vacuum(db) >= 100
        [held] = (await look(db)).snapshots
        assert (held.holder, held.pid) == (Holder.TRANSACTION, writer.info.backend_pid)


async def test_a_vacuum_is_not_taken_for_what_holds_it_up(db: Database) -> None:
    await db.insert(n=500)
    await db.fetch("UPDATE {table} SET claims = claims + 1")
    vacuum = await db.connect()
    await vacuum.execute("SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1")
    running = asyncio.create_task(vacuum.execute("VACUUM outbox.message"))
    busy = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND backend_xmin IS NOT NULL"

    async def holds() -> None:
        assert await db.fetch(busy, (vacuum.info.backend_pid,)) == [(1,)]
        assert await db.fetch("SELECT count(*) FROM pg_stat_progress_vacuum") == [(1,)]

    try:
        await eventually(holds)
        await write(db)
        assert (await look(db)).snapshots == ()
        await holds()
    finally:
        await vacuum.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            await running


async def test_a_prepared_transaction_is_named_with_its_age(db: Database) -> None:
    other = await db.connect()
    await other.execute("BEGIN")
    await other.execute("CREATE TABLE theirs ()")
    await other.execute("PREPARE TRANSACTION 'order 17'")
    try:
        await write(db)
        async with an_old_snapshot(db, "inherits"):
            [held] = (await look(db)).snapshots
        assert await dead_after_vacuum(db) >= 100
    finally:
        await other.execute("ROLLBACK PREPARED 'order 17'")
    assert held == Snapshot(Holder.PREPARED_TRANSACTION, held.transactions, held.age_s, name="order 17")
    assert held.transactions >= 3
    assert held.age_s is not None
    assert 0 <= held.age_s < 60
    assert (await look(db)).snapshots == ()


async def test_a_logical_slot_holds_back_the_catalogs_and_no_table_of_ours(db: Database) -> None:
    await db.fetch("SELECT pg_create_logical_replication_slot('changes', 'pgoutput')")
    try:
        await write(db)
        [(xmin, behind)] = await db.fetch("SELECT xmin::text, age(catalog_xmin) FROM pg_replication_slots")
        assert xmin is None
        assert behind >= 3
        assert await dead_after_vacuum(db) == 0
        assert (await look(db)).snapshots == ()
    finally:
        await db.fetch("SELECT pg_drop_replication_slot('changes')")


async def with_feedback(server: OwnPostgres, standby: Standby, slot: str | None) -> None:
    """Let a standby ask the primary not to remove what its sessions see."""
    if slot is not None:
        await asyncio.to_thread(server.admin, "SELECT pg_create_physical_replication_slot(%s)", (slot,))
        named = sql.SQL("ALTER SYSTEM SET primary_slot_name = {}").format(sql.Literal(slot))
        await asyncio.to_thread(standby.admin, named)
    await asyncio.to_thread(standby.admin, "ALTER SYSTEM SET hot_standby_feedback = on")
    await asyncio.to_thread(standby.admin, "ALTER SYSTEM SET wal_receiver_status_interval = 1")
    await asyncio.to_thread(standby.restart)
    await asyncio.to_thread(standby.until, lambda: standby.streaming, "it does not stream")


@pytest.mark.parametrize("slot", [None, "standby_1"])
async def test_what_a_standby_asks_for_is_told_by_its_slot_or_by_its_session(
    own_database: MakeDatabase, own_standby: Callable[[OwnPostgres], Standby], slot: str | None
) -> None:
    server, db = await asyncio.to_thread(own_database)
    standby = await asyncio.to_thread(own_standby, server)
    await with_feedback(server, standby, slot)
    async with an_old_snapshot(Database(standby.url(db.name), db.name)):

        async def held() -> Snapshot:
            await write(db)
            [snapshot] = (await look(db)).snapshots
            assert snapshot.transactions >= 10
            return snapshot

        found = await eventually(held, 20)
        [(pid, name)] = await db.fetch("SELECT pid, application_name FROM pg_stat_replication")
        by_session = Snapshot(Holder.STANDBY, found.transactions, pid=pid, application=name)
        by_slot = Snapshot(Holder.REPLICATION_SLOT, found.transactions, pid=pid, name=slot)
        assert found == (by_session if slot is None else by_slot)
        assert await dead_after_vacuum(db) >= 100
    if slot is not None:
        await asyncio.to_thread(standby.stop)

        async def unused() -> None:
            [left] = (await look(db)).snapshots
            assert (left.holder, left.name, left.pid) == (Holder.REPLICATION_SLOT, slot, None)

        await eventually(unused)


# -- what a login may see -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", ["pg_monitor", "pg_read_all_stats"])
async def test_without_the_right_to_see_sessions_only_the_age_in_seconds_is_missing(
    postgres: PostgresServer, db: Database, right: str
) -> None:
    async with relay_login(postgres, db) as login, an_old_snapshot(db) as pid:
        await write(db)
        async with a_store(login.url) as store:
            degraded = await store.health()
            grant = sql.SQL("GRANT {} TO {}").format(sql.Identifier(right), login.name)
            await db.fetch(grant)
            whole = await store.health()
    assert (degraded.complete, whole.complete) == (False, True)
    [told], [all_told] = degraded.snapshots, whole.snapshots
    assert (told.pid, told.application, told.age_s) == (pid, "report", None)
    assert told.transactions >= 3
    assert all_told == replace(told, age_s=all_told.age_s, transactions=all_told.transactions)
    assert all_told.age_s is not None


async def test_the_relays_role_suffices(postgres: PostgresServer, db: Database) -> None:
    await db.insert(n=2, status="failed", last_error="unroutable: x")
    await db.insert(status="sent", sent_at=datetime.now(UTC))
    async with relay_login(postgres, db) as login, a_store(login.url, application_name="relay/9 me") as store:
        seen = await store.health()
    assert seen.table_bytes > 0
    assert (len(seen.failures), seen.oldest_sent_at is not None) == (2, True)
    assert seen.replicas == (Replica("me", "9"),)


# -- relays -------------------------------------------------------------------------------------------------------


async def test_relays_are_known_by_their_name_and_counted_once_each(db: Database, postgres: PostgresServer) -> None:
    async with (
        a_store(db.url, application_name="relay/1.0 b") as one,
        a_store(db.url, application_name="relay/1.1 a name"),
        a_store(db.url, application_name="relay/1.1 a name") as other,
        a_store(db.url, application_name="relay-command/1.1 c") as command,
        a_store(postgres.url("postgres"), application_name="relay/1.1 elsewhere") as elsewhere,
    ):
        for store in (one, other, command, elsewhere):
            await store.ping()
        assert (await one.health()).replicas == (Replica("b", "1.0"), Replica("a name", "1.1"))


# -- failed rows --------------------------------------------------------------------------------------------------


async def test_the_newest_failed_rows_come_first_without_anything_of_their_message(db: Database) -> None:
    secret = {"payload": {"card": "4111"}, "headers": {"token": "hunter2"}, "properties": {"app_id": "hunter3"}}
    given = await db.insert(n=12, **secret)
    async with a_store(db.url) as store:
        for row_id in given[1:] + given[:1]:  # the first one fails last
            taken = await claim(store, limit=1, low=row_id)
            await store.settle(taken.token, [Failed(row_id, Refusal.UNROUTABLE, f"unroutable: no queue, {row_id}")])
        seen = await store.health()
    wanted = [given[0], *reversed(given[3:])]
    assert [row.row_id for row in seen.failures] == wanted
    assert {(row.reason, row.failures) for row in seen.failures} == {("unroutable", 1)}
    assert seen.failures[0].error == f"unroutable: no queue, {given[0]}"
    assert seen.failures[0].failed_at == pytest.approx(datetime.now(UTC).timestamp(), abs=60)
    assert not any(word in str(seen) for word in ("4111", "hunter"))


async def test_errors_that_no_relay_wrote_are_shown_as_they_are_and_cut(db: Database) -> None:
    errors = (None, "by hand: x", "ü" * 5000, "restored: on Monday")
    await db.insert(n=4, status="failed", last_error=lambda number: errors[number])
    await db.fetch("UPDATE {table} SET available_at = 'infinity' WHERE id = 1")
    seen = await look(db)
    assert [(row.row_id, row.reason, row.error) for row in sorted(seen.failures, key=lambda row: row.row_id)] == [
        (1, "unknown", ""),
        (2, "unknown", "by hand: x"),
        (3, "unknown", "ü" * 300),
        (4, "restored", "restored: on Monday"),
    ]


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
async def test_errors_are_shown_whatever_the_databases_encoding(
    postgres: PostgresServer, db: Database, encoding: Any
) -> None:
    await recode(postgres, db, encoding)
    await db.insert(status="failed", last_error="invalid: ü" + "x" * 3000 if encoding == "LATIN1" else "invalid: x")
    if encoding == "SQL_ASCII":
        await db.fetch("UPDATE {table} SET last_error = 'invalid: ' || repeat(E'\\303\\274', 1500)")
    [row] = (await look(db)).failures
    assert row.reason == "invalid"
    assert len(row.error) == (10 if encoding == "EUC_JP" else 300)


# -- what can go wrong --------------------------------------------------------------------------------------------


def instead(store: PostgresStore, **queries: bytes) -> None:
    """Ask something else in place of a part."""
    store._health._queries = replace(store._health._queries, **queries)


@pytest.mark.parametrize("query", [b"SELECT pg_sleep(60)", b"SELECT 1/0"], ids=["slow", "wrong"])
async def test_a_part_that_cannot_be_had_leaves_the_others_whole(db: Database, query: bytes) -> None:
    await db.insert(status="failed", last_error="unroutable: x")
    await db.insert(status="sent", sent_at=datetime.now(UTC))
    async with a_store(db.url) as store:
        before = await store.health()
        instead(store, failures=query, oldest_sent=query)
        after = await store.health()
    assert after.sampled_at > before.sampled_at
    assert (after.failures, after.oldest_sent_at) == (before.failures, before.oldest_sent_at)
    assert before.failures


async def test_whatever_goes_wrong_is_a_fault_and_no_bug_that_would_end_the_relay(db: Database) -> None:
    async with a_store(db.url) as store:
        instead(store, health=b"SELECT 1/0")
        with pytest.raises(StoreUnavailable, match="DivisionByZero") as caught:
            await store.health()
    assert caught.value.fault is Fault.OTHER


async def test_a_look_does_not_wait_for_the_table(db: Database) -> None:
    other = await db.connect()
    async with a_store(db.url) as store, other.transaction():
        await other.execute("LOCK TABLE outbox.message")
        with pytest.raises(StoreUnavailable, match="timeout"):
            await store.health()


async def test_a_table_that_is_gone_is_told(db: Database) -> None:
    async with a_store(db.url, table="nope") as store:
        with pytest.raises(StoreUnavailable) as caught:
            await store.health()
    assert caught.value.fault is Fault.SCHEMA
