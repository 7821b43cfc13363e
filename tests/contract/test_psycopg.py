"""Habits of psycopg and its pool on which `relay/store` rests, or which it works around.

Red here after an upgrade means: read the library's change before touching `relay/store`. Where a habit is gone that is
worked around, what works around it may go as well.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from relay.store.connect import shut_down
from relay.store.pool import ON_REQUEST
from services.postgres import PostgresServer
from services.process import free_port
from services.proxy import Proxy
from tests.builders import Database, eventually

MakeProxy = Callable[[str, int], Awaitable[Proxy]]
TIMEOUT_S = 0.2
LONG_S = 10 * TIMEOUT_S


@pytest.fixture
async def conn(postgres: PostgresServer) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection made as the store makes its own."""
    connection = await psycopg.AsyncConnection.connect(postgres.url(), autocommit=True, prepare_threshold=None)
    yield connection
    await connection.close()


def test_the_library_is_of_the_minor_version_that_was_tried() -> None:
    """Hence the bounds in pyproject.toml: what a cancelled query does changed from one minor version to the next."""
    assert version("psycopg").startswith("3.3.")
    assert version("psycopg-pool").startswith("3.3.")


# -- a server that does not answer ------------------------------------------------------------------------------


async def test_a_timeout_of_asyncio_does_not_end_a_query(postgres: PostgresServer, proxy: MakeProxy) -> None:
    """Hence `connect.bounded` cuts the connection: psycopg first asks a server that is gone to cancel the query."""
    server = urlsplit(postgres.url())
    between = await proxy(server.hostname or "", server.port or 0)
    connection = await psycopg.AsyncConnection.connect(between.url(postgres.url()), autocommit=True)
    between.blackhole()

    async def impatient() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await connection.execute("SELECT 1")

    asking = asyncio.ensure_future(impatient())
    done, _ = await asyncio.wait({asking}, timeout=LONG_S)
    assert not done, "a cancelled query ends at once now: asyncio.timeout will do for `bounded`"
    asking.cancel()
    await asyncio.wait({asking})


async def test_a_socket_that_is_shut_ends_a_query_at_once_and_without_a_state(
    conn: psycopg.AsyncConnection[Any],
) -> None:
    """Hence `connect.shut_down`, and `faults.py` takes an error without a state for a lost connection."""
    asking = asyncio.ensure_future(conn.execute("SELECT pg_sleep(60)"))
    await eventually(lambda: conn.info.transaction_status is psycopg.pq.TransactionStatus.ACTIVE)
    shut_down(conn)
    with pytest.raises(psycopg.OperationalError) as lost:
        async with asyncio.timeout(LONG_S):
            await asking
    assert lost.value.sqlstate is None


# -- the pool ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checked", [True, False])
async def test_only_a_pool_that_checks_keeps_dead_connections_to_itself(db: Database, *, checked: bool) -> None:
    """Hence a connection that rested is asked before it is lent: a restart of Postgres must not look like an outage."""
    check = AsyncConnectionPool.check_connection if checked else None
    async with AsyncConnectionPool(
        db.url, min_size=0, max_size=2, check=check, open=False, kwargs={"autocommit": True}
    ) as pool:
        async with pool.connection() as connection:
            pid = connection.info.backend_pid
        await db.fetch("SELECT pg_terminate_backend(%s)", (pid,))

        async def ended() -> None:
            assert await db.fetch("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)) == []

        await eventually(ended)
        if checked:
            async with pool.connection() as connection:
                assert connection.info.backend_pid != pid
        else:
            with pytest.raises(psycopg.errors.AdminShutdown):
                async with pool.connection() as connection:
                    await connection.execute("SELECT 1")


async def test_a_pool_does_not_tell_why_it_has_no_connection() -> None:
    """Hence `Connections` connects once beside the pool when it ran out of time: an outage must name its reason."""
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    async with AsyncConnectionPool(nowhere, min_size=0, max_size=1, open=False, timeout=TIMEOUT_S) as pool:
        with pytest.raises(PoolTimeout) as told:
            await pool.getconn()
    assert "refused" not in str(told.value), "the pool tells the reason now: `once` need not ask"


async def test_a_pool_of_no_least_size_opens_without_a_server() -> None:
    """Hence the relay starts with its database down, and says so itself."""
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(nowhere, min_size=0, max_size=1, open=False)
    await pool.open(wait=True, timeout=1)
    await pool.close()


# -- statements -------------------------------------------------------------------------------------------------


async def test_a_statement_that_comes_often_is_prepared_unless_that_is_off(
    postgres: PostgresServer, conn: psycopg.AsyncConnection[Any]
) -> None:
    """Hence prepare_threshold=None: a transaction pooler would run the name where it was never prepared."""
    async with await psycopg.AsyncConnection.connect(postgres.url(), autocommit=True) as usual:
        for each, prepared in ((conn, 0), (usual, 1)):
            for number in range(10):
                await each.execute("SELECT %s::int", (number,))
            cursor = await each.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%int%'")
            assert await cursor.fetchone() == (prepared,)


async def test_a_statement_is_prepared_on_request_where_that_is_not_off(
    postgres: PostgresServer, conn: psycopg.AsyncConnection[Any]
) -> None:
    """Hence a claim always asks to be prepared, and a session that is not ours alone never grants it."""
    async with await psycopg.AsyncConnection.connect(
        postgres.url(), autocommit=True, prepare_threshold=ON_REQUEST
    ) as ours:
        for each, kept in ((conn, []), (ours, ["SELECT $1::int"])):
            for _ in range(10):
                await each.execute("SELECT %s::int", (1,), prepare=True)
                await each.execute("SELECT %s::text", ("a",))
            cursor = await each.execute("SELECT statement FROM pg_prepared_statements")
            assert [statement for (statement,) in await cursor.fetchall()] == kept


async def test_several_statements_go_in_one_round_trip_and_leave_their_transaction_open(
    conn: psycopg.AsyncConnection[Any],
) -> None:
    """Hence the settings of a transaction cost nothing: BEGIN brings them all."""
    await conn.execute("BEGIN; SET LOCAL lock_timeout = 1234; SET LOCAL jit = off")
    assert conn.info.transaction_status is psycopg.pq.TransactionStatus.INTRANS
    assert await (await conn.execute("SHOW lock_timeout")).fetchone() == ("1234ms",)
    await conn.execute("COMMIT")
    assert await (await conn.execute("SHOW lock_timeout")).fetchone() == ("0",)


# -- values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error"), [("a \x00 b", psycopg.DataError), ("a \ud800 b", UnicodeEncodeError)], ids=["NUL", "surrogate"]
)
async def test_some_texts_cannot_be_stored(
    conn: psycopg.AsyncConnection[Any], text: str, error: type[Exception]
) -> None:
    """Hence `decide.clean`: a mark whose error text cannot be written would be tried for ever."""
    with pytest.raises(error):
        await conn.execute("SELECT %s::text", (text,))


@pytest.mark.parametrize("value", ["infinity", "-infinity", "20000-01-01"])
async def test_times_beyond_pythons_calendar_spoil_the_whole_answer(
    conn: psycopg.AsyncConnection[Any], value: str
) -> None:
    """Hence a claim fetches times as clamped numbers: a producer may write any time."""
    cursor = conn.cursor(binary=True)
    await cursor.execute("SELECT now() UNION ALL SELECT %s::timestamptz", (value,))
    with pytest.raises(psycopg.DataError):
        await cursor.fetchall()


async def test_a_document_read_as_python_loses_digits(conn: psycopg.AsyncConnection[Any]) -> None:
    """Hence a claim fetches the payload as bytes that Postgres spelled, and nobody parses it on the way."""
    text = "12345678901234567890.123456789"
    cursor = await conn.execute("SELECT %s::jsonb, convert_to(%s::jsonb::text, 'UTF8')", (text, text))
    ((parsed, spelled),) = await cursor.fetchall()
    assert spelled == text.encode()
    assert parsed == float(text)
    assert str(parsed) != text, "psycopg keeps all digits now"


# -- errors -----------------------------------------------------------------------------------------------------


async def test_the_text_of_an_error_may_hold_a_row_and_its_first_line_does_not(db: Database) -> None:
    """Hence `faults.py` and the log quote the primary message alone."""
    with pytest.raises(psycopg.errors.NotNullViolation) as raised:
        await db.fetch("INSERT INTO {table} (routing_key, payload) VALUES (NULL, '\"a secret\"')")
    assert "a secret" in str(raised.value), "a row is not repeated any more"
    assert "a secret" not in (raised.value.diag.message_primary or "")


async def test_a_connection_string_that_cannot_be_read_is_quoted_in_the_error() -> None:
    """Hence `never_connected` says that it is none, and does not repeat the words: there is a password in it."""
    with pytest.raises(psycopg.ProgrammingError, match="hunter2"):
        await psycopg.AsyncConnection.connect("host=127.0.0.1 password=x hunter2")
