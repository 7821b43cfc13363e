"""Habits of Postgres on which the claim and the marks rest, tried in plain SQL.

Red here on a new version of Postgres means: read its release notes before touching `relay/queries`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from services.find import OwnPostgres
from services.postgres import PostgresServer
from tests.builders import Database
from tests.logins import relay_login
from tests.stores import SLOW_WAL

Connection = psycopg.AsyncConnection[Any]
ROWS = 2000
CRASHES = 3
"""Once in a while the writer of the log wakes just before the crash."""


@pytest.fixture
async def queue(postgres: PostgresServer) -> AsyncIterator[Connection]:
    """A connection with a small table of its own, `queue`, gone with it."""
    async with await psycopg.AsyncConnection.connect(postgres.url(), autocommit=True) as connection:
        await connection.execute("CREATE TEMP TABLE queue (id bigint PRIMARY KEY, status text, payload text)")
        await connection.execute("CREATE INDEX queue_pending ON queue (id) WHERE status = 'pending'")
        await connection.execute("INSERT INTO queue SELECT n, 'pending', 'x' FROM generate_series(1, %s) n", (ROWS,))
        yield connection


async def fetched(connection: Connection, statement: LiteralString, *params: object) -> list[Any]:
    """The first column of the answer."""
    cursor = await connection.execute(statement, params or None)
    return [row[0] for row in await cursor.fetchall()]


# -- order and number -------------------------------------------------------------------------------------------


async def test_returning_keeps_no_order_although_the_rows_were_chosen_in_one(queue: Connection) -> None:
    """Hence the store sorts what a claim returned: rows that were tried before lie at the end of the table."""
    await queue.execute("UPDATE queue SET payload = 'tried' WHERE id <= 3")
    claimed = await fetched(
        queue,
        "WITH chosen AS MATERIALIZED (SELECT id FROM queue WHERE status = 'pending' ORDER BY id LIMIT 100 "
        "FOR UPDATE SKIP LOCKED) UPDATE queue SET payload = 'taken' FROM chosen WHERE queue.id = chosen.id "
        "RETURNING queue.id",
    )
    assert sorted(claimed) == list(range(1, 101))
    assert claimed != sorted(claimed), "the plan of this statement changed; no order is promised nevertheless"


@pytest.mark.parametrize(("choice", "limited"), [("materialized", True), ("subquery", False)])
async def test_a_limit_below_an_update_may_be_run_once_a_row(queue: Connection, choice: str, *, limited: bool) -> None:
    """Hence the claim chooses its rows in a MATERIALIZED expression: a nested loop would claim the whole table."""
    for plan in ("hashjoin", "mergejoin", "material", "hashagg", "sort"):
        await queue.execute(sql.SQL("SET {} = off").format(sql.Identifier(f"enable_{plan}")))
    chosen: LiteralString = (
        "(SELECT id FROM queue WHERE status = 'pending' ORDER BY id LIMIT 10 FOR UPDATE SKIP LOCKED)"
    )
    update: LiteralString = "UPDATE queue SET status = 'taken' WHERE id IN "
    statement: LiteralString = update + chosen + " RETURNING id"
    if choice == "materialized":
        statement = "WITH chosen AS MATERIALIZED " + chosen + update + "(SELECT id FROM chosen) RETURNING id"
    claimed = len(await fetched(queue, statement))
    assert (claimed == 10) is limited, f"{claimed} rows: a plain subquery is run once now, whatever the plan"


async def test_the_rows_of_a_window_cannot_be_locked(queue: Connection) -> None:
    """Hence the claim locks first and adds up bytes in a second step."""
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="window functions"):
        await queue.execute("SELECT id, sum(length(payload)) OVER (ORDER BY id) FROM queue FOR UPDATE")


async def test_a_smaller_id_may_be_committed_after_a_larger_one(db: Database) -> None:
    """Hence rows are found by their status, and a claim now and then looks from zero: no offset says what was seen."""
    late, early = await db.connect(), await db.connect()
    insert: LiteralString = "INSERT INTO outbox.message (routing_key, payload) VALUES ('a', '{}') RETURNING id"
    async with late.transaction():
        (smaller,) = await fetched(late, insert)
        (larger,) = await fetched(early, insert)
        assert smaller < larger
        seen = [row_id for (row_id,) in await db.fetch("SELECT id FROM {table}")]
        assert seen == [larger]
    assert await db.fetch("SELECT min(id) FROM {table}") == [(smaller,)]


async def test_a_sequence_that_caches_gives_ids_out_of_order(db: Database) -> None:
    """Hence `relay check` wants CACHE 1: with more, ids do not even follow the order of inserts."""
    await db.fetch("CREATE SEQUENCE public.caching CACHE 10")
    first, second = await db.connect(), await db.connect()
    drawn = [(await fetched(each, "SELECT nextval('public.caching')"))[0] for each in (first, second, first)]
    assert drawn != sorted(drawn), "a cached sequence keeps the order of calls now"


# -- plans and sizes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spelling", "rides"), [("literal", True), ("parameter", False)])
async def test_a_partial_index_is_not_used_for_a_status_that_is_a_parameter(
    queue: Connection, spelling: str, *, rides: bool
) -> None:
    """Hence statuses are literals in relay/queries: a plan made for any status reads the whole history."""
    await queue.execute("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off")
    if spelling == "literal":
        await queue.execute("PREPARE look (text) AS SELECT id FROM queue WHERE status = 'pending' ORDER BY id LIMIT 10")
    else:
        await queue.execute("PREPARE look (text) AS SELECT id FROM queue WHERE status = $1 ORDER BY id LIMIT 10")
    plan = "\n".join(await fetched(queue, "EXPLAIN EXECUTE look ('pending')"))
    assert ("queue_pending" in plan) is rides, f"a partial index serves a parameter now:\n{plan}"


async def test_the_size_of_a_large_text_is_known_without_reading_it(queue: Connection) -> None:
    """Hence a claim weighs texts by octet_length: a text that is too large is never read to find out."""
    await queue.execute("ALTER TABLE queue ALTER payload SET STORAGE EXTERNAL")
    await queue.execute("INSERT INTO queue VALUES (0, 'pending', repeat('x', 10000000))")

    async def pages(measure: LiteralString) -> int:
        (plan,) = await fetched(
            queue, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT " + measure + "(payload) FROM queue WHERE id = 0"
        )
        return sum(count for name, count in plan[0]["Plan"].items() if name.endswith(("Hit Blocks", "Read Blocks")))

    assert await pages("octet_length") < 10, "octet_length reads the text now"
    assert await pages("length") > 1000


async def test_jsonb_spells_a_document_anew_and_json_does_not(queue: Connection) -> None:
    """Hence a payload is sent as its column spells it, and docs say which type keeps every byte."""
    text = '{"b": 1,  "a": 1.0, "b": 2}'
    assert await fetched(queue, "SELECT %s::jsonb::text", text) == ['{"a": 1.0, "b": 2}']
    assert await fetched(queue, "SELECT %s::json::text", text) == [text]


async def test_a_document_may_hold_what_no_text_of_it_can(queue: Connection) -> None:
    """Hence where a message goes stands in columns of its own: one such row would fail every claim that looks in."""
    nul = '{"key": "\\u0000"}'
    assert await fetched(queue, "SELECT %s::json::text", nul) == [nul]
    with pytest.raises(psycopg.errors.UntranslatableCharacter):
        await queue.execute("SELECT %s::json ->> 'key'", (nul,))
    with pytest.raises(psycopg.errors.UntranslatableCharacter):
        await queue.execute("SELECT %s::jsonb", (nul,))


# -- whose rows -------------------------------------------------------------------------------------------------


async def test_a_policy_hides_rows_without_a_word_unless_row_security_is_off(
    postgres: PostgresServer, db: Database
) -> None:
    """Hence each transaction of the store sets row_security off: an outbox that seems empty must be an error."""
    await db.insert(n=3)
    await db.fetch("ALTER TABLE outbox.message ENABLE ROW LEVEL SECURITY")
    async with relay_login(postgres, db) as login:
        connection = await db.connect(login.url)
        count: LiteralString = "SELECT count(*) FROM outbox.message"
        assert await fetched(connection, count) == [0], "hidden rows are an error by default now"
        await connection.execute("SET row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            await connection.execute(count)
        await connection.close()


# -- sessions ---------------------------------------------------------------------------------------------------


async def test_a_statement_with_parameters_keeps_its_snapshot_until_the_next_one(postgres: PostgresServer) -> None:
    """Hence a runner of migrations asks for its lock without any: else CREATE INDEX CONCURRENTLY waits for it."""
    holds = "SELECT backend_xmin IS NOT NULL FROM pg_stat_activity WHERE pid = %s"
    async with (
        await psycopg.AsyncConnection.connect(postgres.url(), prepare_threshold=None) as one,
        await psycopg.AsyncConnection.connect(postgres.url(), autocommit=True) as other,
    ):
        await one.execute("SELECT %s::int", (1,))
        assert await fetched(other, holds, one.info.backend_pid) == [True]
        await one.execute("SELECT 1")
        assert await fetched(other, holds, one.info.backend_pid) == [False]


async def test_a_listener_that_reads_nothing_is_ended_by_tcp_user_timeout_only(
    own_postgres: Callable[..., OwnPostgres],
) -> None:
    """Hence the doorbell's session sets it: a relay that is stopped would fill the queue of all NOTIFYs.

    idle_session_timeout ends a session that waits for a statement, not one that waits to be read.
    """
    server = await asyncio.to_thread(own_postgres)
    timeouts: tuple[LiteralString, ...] = ("SET idle_session_timeout = 1500", "SET tcp_user_timeout = 1500")
    async with await psycopg.AsyncConnection.connect(server.url(), autocommit=True) as producer:
        listeners = []
        for timeout in timeouts:
            listeners.append(await psycopg.AsyncConnection.connect(server.url(), autocommit=True))
            await listeners[-1].execute(timeout)
            await listeners[-1].execute("LISTEN news")
        stuck, ended = (listener.info.backend_pid for listener in listeners)
        left = "SELECT pid FROM pg_stat_activity WHERE pid = ANY (%s)"
        async with asyncio.timeout(45):
            while await fetched(producer, left, [stuck, ended]) != [stuck]:
                await producer.execute(
                    "SELECT pg_notify('news', n || repeat('x', 7000)) FROM generate_series(1, 200) n"
                )
        for listener in listeners:
            await listener.close()


# -- a crash ----------------------------------------------------------------------------------------------------


async def test_a_crash_erases_what_everybody_saw_unless_something_was_written_to_disk_after_it(
    own_postgres: Callable[..., OwnPostgres],
) -> None:
    """Hence a claim is committed synchronously between the read of a row and its publish, whoever inserted the row.

    The commit may be of any other row, so the store counts earlier marks as safe after each that wrote something. An
    asynchronous claim saves nothing, and neither does a synchronous commit that wrote nothing.
    """
    server = await asyncio.to_thread(lambda: own_postgres(durable=True, settings=SLOW_WAL))
    server.admin("CREATE TABLE queue (name text, claims int DEFAULT 0)")
    server.admin("CREATE TABLE other (n int)")
    for crash in range(1, CRASHES + 1):
        async with await psycopg.AsyncConnection.connect(server.url(), autocommit=True) as both:
            await lazily(both, "INSERT INTO queue VALUES (%s)", f"written before {crash}")
            await both.execute("INSERT INTO other VALUES (1)")
            await lazily(both, "INSERT INTO queue VALUES (%s)", f"seen before {crash}")
            await lazily(both, "UPDATE queue SET claims = 1 WHERE name LIKE 'seen%%'")
            await both.execute("UPDATE queue SET claims = 2 WHERE false")
            assert f"seen before {crash}" in await fetched(both, "SELECT name FROM queue"), "seen before it is on disk"
            await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        left = {name for (name,) in server.admin("SELECT name FROM queue")}
        assert f"written before {crash}" in left, "a later commit does not save what came before it any more"
        if f"seen before {crash}" not in left:
            return
    raise AssertionError("what is seen is not lost by a crash any more: a claim may be lazy")


async def lazily(connection: Connection, statement: LiteralString, *params: object) -> None:
    """Run and commit it without waiting for the disk."""
    async with connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = off")
        await connection.execute(statement, params)
