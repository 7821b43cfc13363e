"""A database that is gone, half gone, or wrong: told as one of a closed set of faults, in bounded time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from relay.model import Fault, Release
from relay.ports import StoreUnavailable
from relay.store import PostgresStore, StoreConfig, connect, pool
from relay.store.begin import DURABLE
from relay.store.pool import FRESH_S, Connections
from services.find import OwnPostgres
from services.proxy import Proxy
from services.tls import Authority
from tests.builders import Database, eventually
from tests.stores import a_store, backend_pids, claim, ids, sent

OwnPostgresMaker = Callable[..., OwnPostgres]
OwnDatabaseMaker = Callable[..., tuple[OwnPostgres, Database]]
ProxyMaker = Callable[[str, int], Awaitable[Proxy]]

SECRET = "hunter2-xyzzy"
"""A word that no error may tell."""


async def fault_of(work: Awaitable[Any]) -> StoreUnavailable:
    """The error with which it ends."""
    with pytest.raises(StoreUnavailable) as caught:
        await work
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


async def ready_fault(url: str) -> StoreUnavailable:
    """What `ready` says of that URL."""
    async with a_store(url) as store:
        return await fault_of(store.ready())


def place(url: str) -> tuple[str, int]:
    """The host and port of a URL."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


async def test_a_refused_connection_is_told_at_once() -> None:
    began = time.monotonic()
    error = await ready_fault(f"postgresql://u:{SECRET}@127.0.0.1:1/x")
    assert (error.fault, time.monotonic() - began < 3) == (Fault.REFUSED, True)
    assert "127.0.0.1" in error.detail


async def test_a_host_without_an_address_is_unreachable() -> None:
    assert (await ready_fault(f"postgresql://u:{SECRET}@no-such-host.invalid/x")).fault is Fault.UNREACHABLE


async def test_a_url_that_is_none_is_told_without_quoting_it() -> None:
    error = await ready_fault(f"postgresql://u:p@h/x?{SECRET}=1")
    assert (error.fault, error.detail) == (Fault.OTHER, "the database URL is not a valid connection string")


async def test_wrong_credentials_and_names_are_told(own_postgres: OwnPostgresMaker) -> None:
    server = await asyncio.to_thread(own_postgres)
    password = await ready_fault(server.url("postgres", "postgres", SECRET))
    assert (password.fault, "password" in password.detail) == (Fault.AUTH, True)
    assert (await ready_fault(server.url("nowhere"))).fault is Fault.SCHEMA
    await asyncio.to_thread(server.admin, "CREATE ROLE full LOGIN PASSWORD 'p' CONNECTION LIMIT 0")
    assert (await ready_fault(server.url("postgres", "full", "p"))).fault is Fault.LIMIT


async def test_the_url_is_asked_for_anew_for_each_connection(db: Database) -> None:
    """So that a password which was changed is read again."""
    right, wrong = db.url, "postgresql://u:p@127.0.0.1:1/x"
    answers = [wrong]
    store = PostgresStore(StoreConfig(lambda: answers[-1]))
    await store.open()
    try:
        assert (await fault_of(store.ready())).fault is Fault.REFUSED
        answers.append(right)
        await store.ready()
        await claim(store)
    finally:
        await store.close()


async def test_a_server_that_says_nothing_is_given_up_in_bounded_time(db: Database, proxy: ProxyMaker) -> None:
    line = await proxy(*place(db.url))
    given = await db.insert(n=2)
    async with a_store(line.url(db.url)) as store:
        taken = await claim(store, limit=1)
        line.blackhole()
        began = time.monotonic()
        error = await fault_of(store.settle(taken.token, [sent(taken, given[0])]))
        # Two seconds until the check of a pooled connection gives up, five for a new connection, and some more.
        assert (error.fault, time.monotonic() - began < 25) == (Fault.TIMEOUT, True)
        assert (await fault_of(store.ready())).fault is Fault.TIMEOUT
        await line.pass_all()
        await store.ready()
        assert await store.settle(taken.token, [sent(taken, given[0])]) == frozenset()
        assert ids(await claim(store)) == given[1:]


async def test_an_answer_that_never_comes_cuts_the_connection_not_the_patience(db: Database, proxy: ProxyMaker) -> None:
    """A cancellation would wait ten seconds more for the server to confirm it."""
    line = await proxy(*place(db.url))
    conn = await connect.connect(lambda: line.url(db.url), "test")
    async with conn:
        line.hold("down")
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="no answer"):
            async with connect.bounded(conn, 0.5):
                await conn.execute("SELECT 1")
        assert 0.4 < time.monotonic() - began < 3


async def test_connections_at_rest_that_the_server_ended_cost_no_error(db: Database) -> None:
    given = await db.insert(n=3)
    async with a_store(db.url) as store:
        assert ids(await claim(store, limit=1)) == given[:1]
        for pid in await backend_pids(db):
            await db.fetch("SELECT pg_terminate_backend(%s)", (pid,))
        await asyncio.sleep(FRESH_S)
        assert ids(await claim(store, limit=1)) == given[1:2]


async def said(
    db: Database, work: Callable[[Connections], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> list[Any]:
    """Every word of the work on connections that are at rest each time."""
    words: list[Any] = []
    say = psycopg.AsyncConnection.execute

    async def execute(conn: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        words.append(query)
        return await say(conn, query, *args, **kwargs)

    monkeypatch.setattr(pool, "FRESH_S", 0.0)
    connections = Connections(StoreConfig(conninfo=lambda: db.url, application_name="test"), lambda *_: None)
    await connections.open()
    try:
        async with connections.connection("warm", 5.0):
            monkeypatch.setattr(psycopg.AsyncConnection, "execute", execute)
        await work(connections)
    finally:
        await connections.close()
    return words


async def test_a_transaction_on_a_connection_at_rest_asks_by_beginning(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def transact(connections: Connections) -> None:
        async with connections.transaction("claim", DURABLE):
            pass

    assert await said(db, transact, monkeypatch) == [DURABLE, "COMMIT"]


async def test_a_statement_in_one_round_trip_asks_before(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def state(connections: Connections) -> None:
        await connections.statement("settle", DURABLE, b"UPDATE outbox.message SET claims = 0", {})

    assert await said(db, state, monkeypatch) == [b""]


async def test_a_server_that_refuses_a_transaction_is_heard_at_once_also_on_a_connection_at_rest(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = b"DO $$ BEGIN RAISE SQLSTATE '25006'; END $$"  # much as BEGIN READ WRITE gets from a standby

    async def transact(connections: Connections) -> None:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            async with connections.transaction("claim", refusal):
                pass
        assert (caught.value.fault, time.monotonic() - began < 5) == (Fault.READ_ONLY, True)

    assert (await said(db, transact, monkeypatch))[:2] == [refusal, refusal]


async def test_after_one_connection_has_ended_no_other_is_trusted(db: Database) -> None:
    await db.insert(n=4)
    async with a_store(db.url) as store:
        await asyncio.gather(*(claim(store, limit=1) for _ in range(3)))
        for pid in await backend_pids(db):
            await db.fetch("SELECT pg_terminate_backend(%s)", (pid,))
        with suppress(StoreUnavailable):  # unless so much time has passed that it is asked before its use
            await claim(store, limit=1)
        assert len((await claim(store, limit=1)).rows) == 1


async def end_the_waiting(db: Database) -> bool:
    """End the session that waits for a lock, if there is one."""
    return bool(await db.fetch("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted"))


async def test_a_connection_that_ends_in_the_midst_is_lost_and_nothing_is_half_done(db: Database) -> None:
    await db.insert(n=3)
    other = await db.connect()
    async with a_store(db.url) as store:
        await store.ready()
        async with other.transaction():
            await other.execute("LOCK TABLE outbox.message")
            waiting = asyncio.create_task(claim(store))
            await eventually(lambda: end_the_waiting(db))
            assert (await fault_of(waiting)).fault is Fault.LOST
        assert await db.fetch("SELECT count(*) FROM {table} WHERE claims > 0") == [(0,)]
        assert len((await claim(store)).rows) == 3


async def test_a_server_that_crashes_and_comes_back_is_used_again(own_database: OwnDatabaseMaker) -> None:
    server, db = await asyncio.to_thread(own_database)
    try:
        given = await db.insert(n=3)
        async with a_store(db.url) as store:
            assert ids(await claim(store, limit=1)) == given[:1]
            await asyncio.to_thread(server.stop, "immediate")
            began = time.monotonic()
            assert (await fault_of(claim(store))).fault in {Fault.REFUSED, Fault.LOST}
            assert (await fault_of(store.ready())).fault is Fault.REFUSED
            assert time.monotonic() - began < 15
            await asyncio.to_thread(server.start)
            await store.ready()
            assert ids(await claim(store, limit=1)) == given[1:2]
    finally:
        await db.close()


async def test_a_lock_that_is_not_given_back_is_a_timeout_that_leaves_nothing_behind(db: Database) -> None:
    await db.insert()
    other = await db.connect()
    async with a_store(db.url) as store:
        await store.ready()
        async with other.transaction():
            await other.execute("LOCK TABLE outbox.message")
            began = time.monotonic()
            error = await fault_of(claim(store))
            assert (error.fault, error.detail[:5]) == (Fault.TIMEOUT, "55P03")
            assert time.monotonic() - began < 5
        assert len((await claim(store)).rows) == 1


async def test_a_read_only_login_is_told(db: Database) -> None:
    await db.fetch(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(sql.Identifier(db.name)))
    assert (await ready_fault(db.url)).fault is Fault.READ_ONLY


async def test_a_standby_is_told_as_read_only(own_database: OwnDatabaseMaker) -> None:
    server, db = await asyncio.to_thread(own_database)
    # The server's folder is where its programs run; this file makes it a standby from the next start on.
    await db.fetch("COPY (SELECT 1) TO PROGRAM 'cat > standby.signal'")
    await db.close()
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    assert (await ready_fault(db.url)).fault is Fault.READ_ONLY
    # A login that insists on any server learns it from the check.
    assert (await ready_fault(f"{db.url}?target_session_attrs=any")).fault is Fault.READ_ONLY


async def test_a_full_pool_is_a_timeout_and_not_a_lie_about_the_server(db: Database) -> None:
    async with a_store(db.url, pool_size=1) as store:
        await store.ready()
        async with store._connections.connection("ping", 60.0):
            error = await fault_of(claim(store))
        assert (error.fault, "pool" in error.detail) == (Fault.TIMEOUT, True)


async def test_a_bug_of_ours_is_not_hidden_as_weather(db: Database) -> None:
    await db.insert()
    await db.fetch("UPDATE {table} SET claims = 2147483647")
    async with a_store(db.url) as store:
        with pytest.raises(psycopg.errors.NumericValueOutOfRange):
            await claim(store)


async def test_a_constraint_of_the_service_is_told_in_the_databases_words_but_not_the_row(db: Database) -> None:
    await db.fetch("ALTER TABLE {table} ADD CONSTRAINT never CHECK (claims = 0)")
    await db.insert(payload={"card": SECRET})
    async with a_store(db.url) as store:
        error = await fault_of(claim(store))
    assert (error.fault, "never" in error.detail) == (Fault.OTHER, True)


async def test_an_error_never_tells_a_row(db: Database) -> None:
    await db.insert(payload={"card": SECRET})
    async with a_store(db.url) as store:
        taken = await claim(store)
        await db.fetch("ALTER TABLE {table} RENAME COLUMN last_error TO gone")
        error = await fault_of(store.settle(taken.token, [Release(taken.rows[0].id)]))
    assert (error.fault, error.detail[:5]) == (Fault.SCHEMA, "42703")


async def test_a_closed_store_says_so(db: Database) -> None:
    async with a_store(db.url) as store:
        await store.ready()
    assert (await fault_of(claim(store))).detail == "the store is closed"


async def test_the_users_own_settings_win(db: Database) -> None:
    async with a_store(f"{db.url}?application_name=theirs&connect_timeout=9", application_name="ours") as store:
        await claim(store)
        assert len(await backend_pids(db, "theirs")) >= 1
        assert await backend_pids(db, "ours") == []


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Signs the server's certificate; no system knows it."""
    return Authority(tmp_path)


async def test_tls_is_verified_as_asked(own_database: OwnDatabaseMaker, authority: Authority, tmp_path: Path) -> None:
    server, db = await asyncio.to_thread(lambda: own_database(tls=authority.issue("localhost", "127.0.0.1")))
    await db.close()
    stranger_folder = tmp_path / "stranger"
    stranger_folder.mkdir()
    stranger = Authority(stranger_folder, "somebody else")
    right = f"{db.url}?sslmode=verify-full&sslrootcert={authority.ca}"
    async with a_store(right) as store:
        await store.ready()
        await claim(store)
    wrong_ca = await ready_fault(f"{db.url}?sslmode=verify-full&sslrootcert={stranger.ca}")
    assert (wrong_ca.fault, "certificate verify failed" in wrong_ca.detail) == (Fault.TLS, True)
    missing = await ready_fault(f"{db.url}?sslmode=verify-full&sslrootcert={tmp_path}/none.pem")
    assert (missing.fault, "does not exist" in missing.detail) == (Fault.TLS, True)
    assert server.running


async def test_tls_for_another_host_name_is_refused(own_database: OwnDatabaseMaker, authority: Authority) -> None:
    _, db = await asyncio.to_thread(lambda: own_database(tls=authority.issue("db.example")))
    await db.close()
    error = await ready_fault(f"{db.url}?sslmode=verify-full&sslrootcert={authority.ca}")
    assert (error.fault, "127.0.0.1" in error.detail) == (Fault.TLS, True)
    async with a_store(f"{db.url}?sslmode=verify-ca&sslrootcert={authority.ca}") as store:
        await store.ready()


async def test_tls_that_the_server_does_not_speak_is_told(own_database: OwnDatabaseMaker) -> None:
    _, db = await asyncio.to_thread(own_database)
    await db.close()
    assert (await ready_fault(f"{db.url}?sslmode=require")).fault is Fault.TLS


async def test_a_client_certificate_logs_in(own_database: OwnDatabaseMaker, authority: Authority) -> None:
    tls = authority.issue("127.0.0.1")
    _, db = await asyncio.to_thread(lambda: own_database(tls=tls, hba=["hostssl all postgres 127.0.0.1/32 cert"]))
    await db.close()
    client = authority.issue("client.example", common_name="postgres")
    trust = f"{db.url.replace(urlsplit(db.url).password or '', '')}?sslmode=verify-full&sslrootcert={authority.ca}"
    async with a_store(f"{trust}&sslcert={client.cert}&sslkey={client.key}") as store:
        await store.ready()
        await claim(store)
    error = await ready_fault(trust)
    assert error.fault in {Fault.TLS, Fault.AUTH}
    assert "certificate" in error.detail
