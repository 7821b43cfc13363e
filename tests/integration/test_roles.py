"""Each role logs in and tries what it must be able to do, and what it must not."""

from collections.abc import AsyncIterator
from datetime import timedelta
from secrets import token_hex
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from relay.migrate import files
from relay.model import Failed, Fault, Mark, Refusal, Release, Retry
from relay.ports import StoreUnavailable
from services.postgres import PostgresServer
from tests.builders import Database
from tests.stores import a_store, claim, ids, sent

PASSWORD = "made-for-a-test"


class Logins:
    """Makes logins that are members of the product's roles."""

    def __init__(self, postgres: PostgresServer, db: Database) -> None:
        self._postgres = postgres
        self._db = db
        self._made: list[sql.Identifier] = []

    async def url(self, *roles: str) -> str:
        """The URL of a new login with those roles."""
        name = f"login_{token_hex(4)}"
        self._made.append(sql.Identifier(name))
        await self._db.fetch(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(self._made[-1], PASSWORD))
        for role in roles:
            await self._db.fetch(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), self._made[-1]))
        return self._postgres.url(self._db.name, name, PASSWORD)

    async def remove(self) -> None:
        """Drop them all."""
        for login in self._made:
            await self._db.fetch(sql.SQL("DROP OWNED BY {} CASCADE; DROP ROLE {}").format(login, login))


@pytest.fixture
async def logins(postgres: PostgresServer, db: Database) -> AsyncIterator[Logins]:
    """Logins of one test."""
    made = Logins(postgres, db)
    yield made
    await made.remove()


async def may(db: Database, url: str, statement: LiteralString) -> list[tuple[Any, ...]]:
    """Run a statement as that login."""
    connection = await db.connect(url)
    try:
        cursor = await connection.execute(statement)
        return await cursor.fetchall() if cursor.description else []
    finally:
        await connection.close()


async def may_not(db: Database, url: str, statement: LiteralString) -> None:
    """See a statement refused to that login."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await may(db, url, statement)


async def test_a_producer_inserts_and_learns_the_id(db: Database, logins: Logins) -> None:
    url = await logins.url("outbox_producer")
    await may(db, url, "INSERT INTO outbox.message (routing_key, payload) VALUES ('a', '{}')")
    full: LiteralString = (
        "INSERT INTO outbox.message"
        " (message_id, exchange, routing_key, key, payload, content_type, headers, properties, available_at)"
        " VALUES (gen_random_uuid(), 'e', 'a', 'k', '{}', 'text/plain', '{}', '{}', now()) RETURNING id, message_id"
    )
    assert len(await may(db, url, full)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO outbox.message (routing_key, payload, status) VALUES ('a', '{}', 'sent')",
        "INSERT INTO outbox.message (routing_key, payload, created_at) VALUES ('a', '{}', now())",
        "INSERT INTO outbox.message (id, routing_key, payload) OVERRIDING SYSTEM VALUE VALUES (1, 'a', '{}')",
        "SELECT payload FROM outbox.message",
        "UPDATE outbox.message SET status = 'sent'",
        "DELETE FROM outbox.message",
        "TRUNCATE outbox.message",
        "SELECT outbox.delete_sent('0', 1)",
        "CREATE TABLE outbox.mine ()",
    ],
)
async def test_a_producer_may_do_nothing_else(db: Database, logins: Logins, statement: LiteralString) -> None:
    await may_not(db, await logins.url("outbox_producer"), statement)


async def test_the_relay_does_its_whole_work(db: Database, logins: Logins) -> None:
    given = await db.insert(n=5)
    async with a_store(await logins.url("outbox_relay")) as store:
        assert await store.problems() == ()
        taken = await claim(store)
        assert ids(taken) == given
        await store.renew(taken.token, given)
        one, two, three, four, five = given
        error = "rejected: x"
        marks: list[Mark] = [sent(taken, one), Release(four), Release(five, "doubt")]
        marks += [Retry(two, Refusal.REJECTED, 1, error), Failed(three, Refusal.REJECTED, error)]
        assert await store.settle(taken.token, marks) == frozenset()
        assert (await store.backlog()).pending == 3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE outbox.message SET payload = '{}'",
        "UPDATE outbox.message SET message_id = gen_random_uuid()",
        "UPDATE outbox.message SET created_at = now()",
        "INSERT INTO outbox.message (routing_key, payload) VALUES ('a', '{}')",
        "DELETE FROM outbox.message",
        "TRUNCATE outbox.message",
        "ALTER TABLE outbox.message ADD COLUMN mine text",
        "SELECT outbox.delete_sent('0', 1)",
        "SELECT outbox.requeue_failed(1)",
        "CREATE TABLE outbox.mine ()",
    ],
)
async def test_the_relay_may_do_nothing_else(db: Database, logins: Logins, statement: LiteralString) -> None:
    await may_not(db, await logins.url("outbox_relay"), statement)


async def test_the_keeper_cleans_up_and_requeues_without_seeing_a_row(db: Database, logins: Logins) -> None:
    await db.insert(n=4)
    await db.fetch("UPDATE {table} SET status = 'sent', sent_at = now() - interval '1 day' WHERE id <= 2")
    await db.fetch("UPDATE {table} SET status = 'failed', available_at = now() - interval '1 day' WHERE id > 2")
    url = await logins.url("outbox_keeper")
    async with a_store(url) as store:
        assert await store.cleanup(timedelta(hours=1)) == 2
        assert await store.requeue(limit=1) == 1
        assert await store.cleanup(timedelta(hours=1), failed=True) == 1
        with pytest.raises(StoreUnavailable) as caught:
            await store.claim(limit=1, low=0)
    assert caught.value.fault is Fault.PERMISSION
    await may_not(db, url, "SELECT id FROM outbox.message")
    await may_not(db, url, "DELETE FROM outbox.message")
    await may_not(db, url, "UPDATE outbox.message SET status = 'sent'")


async def test_a_stranger_may_do_nothing(db: Database, logins: Logins) -> None:
    url = await logins.url()
    await may_not(db, url, "SELECT id FROM outbox.message")
    await may_not(db, url, "SELECT outbox.requeue_failed(1)")
    await db.fetch("GRANT USAGE ON SCHEMA outbox TO PUBLIC")
    for call in ("outbox.delete_sent('0', 1)", "outbox.delete_failed('0', 1)", "outbox.requeue_failed(1)"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="function"):
            await (await db.connect(url)).execute(sql.SQL("SELECT " + call))


async def test_the_functions_cannot_be_led_astray_by_a_search_path(db: Database, logins: Logins) -> None:
    """They run with their owner's rights."""
    keeper = await logins.url("outbox_keeper")
    connection = await db.connect(keeper)
    await connection.execute("CREATE TEMP TABLE message (id bigint, status text, sent_at timestamptz)")
    astray = "CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT 1/0; SELECT NULL::timestamptz'"
    await connection.execute(astray)
    await connection.execute("SET search_path = pg_temp, outbox")
    cursor = await connection.execute("SELECT outbox.delete_sent('0', 10)")
    assert await cursor.fetchall() == [(0,)]


async def test_a_missing_grant_is_told_with_the_statement_that_mends_it(db: Database, logins: Logins) -> None:
    url = await logins.url("outbox_relay")
    await db.insert()
    await db.fetch("REVOKE UPDATE (last_error, claims) ON outbox.message FROM outbox_relay")
    async with a_store(url) as store:
        (problem,) = await store.problems()
        assert (problem.code, problem.fault) == ("grant.update", Fault.PERMISSION)
        with pytest.raises(StoreUnavailable, match="may not UPDATE claims, last_error") as caught:
            await store.ready()
        assert caught.value.fault is Fault.PERMISSION
        await db.fetch(sql.SQL(problem.fix))
        await store.ready()
        await claim(store)


async def test_row_level_security_that_would_hide_rows_is_told(db: Database, logins: Logins) -> None:
    url = await logins.url("outbox_relay")
    given = await db.insert(n=2)
    async with a_store(url) as store:
        await store.ready()
        await db.fetch("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        with pytest.raises(StoreUnavailable) as caught:
            await claim(store)
        assert (caught.value.fault, "row-level security" in caught.value.detail) == (Fault.PERMISSION, True)
        (problem,) = await store.problems()
        assert problem.code == "table.row_security"
        await db.fetch(sql.SQL(problem.fix))
        assert ids(await claim(store)) == given


async def test_the_role_files_can_be_run_again_and_without_the_right_to_make_roles(
    db: Database, logins: Logins
) -> None:
    owner = await logins.url()
    login = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(owner)["user"]))
    await db.fetch(sql.SQL("ALTER TABLE {} OWNER TO {}").format(db.table, login))
    await db.fetch(sql.SQL("ALTER SCHEMA outbox OWNER TO {}").format(login))
    for function in ("delete_sent", "delete_failed", "requeue_failed"):
        await db.fetch(sql.SQL("ALTER FUNCTION outbox.{} OWNER TO {}").format(sql.Identifier(function), login))
    told: list[str] = []
    connection = await db.connect(owner)
    connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
    for path in sorted((files.folder().parent / "roles").glob("*.sql")):
        text = path.read_text()
        await connection.execute(text.encode())
        await connection.execute(text.replace("outbox_", "absent_").encode())
    assert len([each for each in told if each.startswith("role absent_")]) == 3
