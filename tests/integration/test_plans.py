"""Each statement rides on the index it names, and touches no more than it must, however long the table's history.

Costs are counted in rows and pages, not in seconds: those say more about the machine.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import timedelta
from importlib.resources import files
from secrets import token_hex
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection, sql
from psycopg.types.numeric import Int8

from relay import migrate
from relay.migrate import outside
from relay.settings import Settings
from relay.store.begin import CLAIM as BEGIN_CLAIM
from relay.store.begin import DURABLE, IN_ORDER
from relay.store.config import StoreConfig
from relay.store.lease import terms
from relay.store.pool import ON_REQUEST
from relay.store.queries import Queries, compose, compose_claim
from services.postgres import PostgresServer
from tests.builders import Database, eventually
from tests.stores import NOBODY, a_store, claim

HISTORY = 50_000
BACKLOG = 1_000_000
PENDING = 1000
HEAD = HISTORY + 1
"""The first row that waits."""
IDS = list(range(HISTORY - 499, HISTORY + 1))
CLAIM = compose_claim("outbox", "message", payload_type="jsonb", payload_type_id=3802, encoding="UTF8")
QUERIES = compose("outbox", "message")
LIMITS: dict[str, object] = {
    "rows": 500,
    "bytes": 8 << 20,
    "message_bytes": 16 << 20,
    "lease_s": 60.0,
    "token": NOBODY,
    "high": 2**63 - 1,
}
MARKS = {
    "ids": IDS,
    "token": NOBODY,
    "lease_s": 60.0,
    "notes": ["x"] * 500,
    "delays_s": [1.0] * 500,
    "message_ids": [UUID(int=1)] * 500,
}
FILL = (
    "INSERT INTO outbox.message (routing_key, payload, status, sent_at) "
    "SELECT 'a', '{}', CASE WHEN n % 10000 = 0 THEN 'failed' ELSE 'sent' END, now() - n * interval '1 s' "
    f"FROM generate_series(1, {HISTORY}) AS n"
)
BEHIND = (
    "INSERT INTO outbox.message (routing_key, payload, key) "
    f"SELECT 'a', '{{}}', CASE WHEN n % 2 = 0 THEN 'k' || n % 100 END FROM generate_series(1, {PENDING}) AS n"
)
OPT_INS = (*outside.statements(migrate.sql(only="ordering")),)
"""All statements are held to their index beside these, too."""
ANALYZE = "ANALYZE outbox.message"
AGE = f"UPDATE outbox.message SET status = CASE WHEN id % 10000 = 0 THEN 'failed' ELSE 'sent' END WHERE id <= {HISTORY}"
STATISTICS = {
    "never": (FILL, BEHIND),
    "of an empty table": (ANALYZE, FILL, BEHIND),
    # All of it was pending once, and the planner believes that it still is.
    "of a huge backlog": (
        FILL.replace("'failed' ELSE 'sent'", "'pending' ELSE 'pending'"),
        ANALYZE,
        AGE,
        "VACUUM outbox.message",
        BEHIND,
    ),
    "fresh": (FILL, BEHIND, ANALYZE),
}
"""How the history came to be, and when it was analyzed: what the planner believes of a queue is always stale."""


EXPLAIN = b"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "
PARAMETER = re.compile(rb"%\((\w+)\)s")


class Cost(NamedTuple):
    """What a statement may walk, and what it may touch while 50,000 rows of history stand beside it."""

    params: Mapping[str, object]
    indexes: set[str]
    rows: int
    pages: int


COSTS = {
    "claim": Cost(LIMITS | {"low": 0}, {"message_pending", "message_pkey"}, 2 * 500 + 1, 14 * 500),
    "beyond": Cost({"high": HEAD}, {"message_pending"}, 1, 20),
    "first_due": Cost({"low": 0, "high": 2 * HISTORY}, {"message_pending"}, 1, 20),
    "claim_unread": Cost(LIMITS | {"id": HISTORY + 1}, {"message_pkey"}, 1, 20),
    "mark_sent": Cost(MARKS, {"message_pkey"}, 500, 12 * 500),
    "mark_sent_late": Cost(MARKS, {"message_pkey"}, 500, 12 * 500),
    "settled": Cost(MARKS, {"message_pkey"}, 500, 12 * 500),
    # These may as well look ids up in the index of pending rows, or walk it while it is this short.
    "renew": Cost(MARKS, {"message_pkey", "message_pending"}, 500, 12 * 500),
    "mark_retry": Cost(MARKS, {"message_pkey", "message_pending"}, PENDING, 12 * 500),
    "mark_failed": Cost(MARKS, {"message_pkey", "message_pending"}, PENDING, 12 * 500),
    "release": Cost(MARKS, {"message_pkey", "message_pending"}, PENDING, 12 * 500),
    "give_back": Cost(
        {"low": 0, "token": NOBODY, "seen": 100, "high": 2 * HISTORY},
        {"message_pending", "message_pkey"},
        2 * 100,
        12 * 100,
    ),
    # 50 keys with ten rows each, of which it takes four, and 500 rows without a key.
    "turns": Cost(
        {"low": 0, "after": 0, "after_unkeyed": 0, "each": 4, "look": 500},
        {"message_key", "message_pending", "message_pkey", "message_failed_key"},
        1 + 51 + 50 * 4 + 500,
        4 * (1 + 51 + 50 + 50 * 4 + 500),
    ),
    # It touches no table of ours, but that of the databases.
    "writers": Cost({}, {"pg_database_datname_index"}, 1, 10),
    "backlog": Cost(
        {"cap": 100_000, "low": 0, "unseen": 0},
        {"message_pending", "message_retrying", "message_failed", "message_pkey"},
        3 * PENDING + 5,
        9 * PENDING,
    ),
    "failures": Cost({}, {"message_failed"}, 5, 20),
    "oldest_sent": Cost({"since": float("-inf")}, {"message_sent"}, 1, 20),
    # A dry run counts all there is to count, and reads nothing else.
    "count_sent": Cost({"older_than": timedelta(seconds=HISTORY - 500)}, {"message_sent"}, 1000, 1200),
    "count_failed": Cost({"older_than": None}, {"message_failed"}, 5, 20),
}
CATALOGS_ONLY = ("inspect", "doorbell", "health")
THEIR_FUNCTION = {"cleanup_sent": "delete_sent", "cleanup_failed": "delete_failed", "requeue": "requeue_failed"}
"""Statements that call a function of the schema, whose own plan is looked at."""


@pytest.fixture(scope="module", params=STATISTICS)
def history(request: pytest.FixtureRequest, postgres: PostgresServer, template: str) -> Iterator[Connection[Any]]:
    """A table with a long history of sent rows, five failed ones and 1,000 pending ones."""
    yield from filled(postgres, template, *OPT_INS, *STATISTICS[request.param])


@pytest.fixture(scope="module")
def backlog(postgres: PostgresServer, template: str) -> Iterator[Connection[Any]]:
    """A million pending rows."""
    yield from filled(
        postgres,
        template,
        f"INSERT INTO outbox.message (routing_key, payload) SELECT 'a', '{{}}' FROM generate_series(1, {BACKLOG})",
    )


@pytest.fixture
def aging(postgres: PostgresServer, template: str) -> Iterator[Connection[Any]]:
    """Some thousand rows to grow old in a test's own way."""
    yield from filled(
        postgres,
        template,
        "INSERT INTO outbox.message (routing_key, payload) SELECT 'a', '{}' FROM generate_series(1, 61000)",
    )


def filled(postgres: PostgresServer, template: str, *statements: str) -> Iterator[Connection[Any]]:
    """A connection to a database filled that way, whose statistics nobody else brings up to date."""
    name = f"relay_plans_{token_hex(4)}"
    postgres.create_database(name, template=template)
    with psycopg.connect(postgres.url(name), autocommit=True) as connection:
        connection.execute("ALTER TABLE outbox.message SET (autovacuum_enabled = off)")
        for statement in statements:
            connection.execute(statement.encode())
        yield connection
    postgres.drop_database(name)


def explain(
    connection: Connection[Any], query: bytes, begin: bytes = DURABLE, /, **params: object
) -> list[dict[str, Any]]:
    """The nodes of the plan as it ran, in the store's own kind of transaction or another, which is rolled back."""
    try:
        connection.execute(begin)
        ((plan,),) = connection.execute(EXPLAIN + query, params).fetchall()
    finally:
        connection.execute("ROLLBACK")
    return list(nodes(plan[0]["Plan"]))


def keep_plan(connection: Connection[Any]) -> str:
    """Have the claim planned as a relay does that finds the table as it is; the name of what is kept."""
    connection.prepare_threshold = ON_REQUEST
    connection.execute(BEGIN_CLAIM)
    connection.execute(CLAIM, claims(rows=0), prepare=True)
    connection.execute("COMMIT")
    ((name,),) = connection.execute(
        "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%candidate%'"
    ).fetchall()
    return str(name)


def explain_kept(connection: Connection[Any], name: str) -> list[dict[str, Any]]:
    """The nodes of the kept plan as it ran for 500 rows; the claim is undone, but no plan is thrown away."""
    values = claims()
    arguments = sql.SQL(", ").join(values[each.decode()] for each in dict.fromkeys(PARAMETER.findall(CLAIM)))
    connection.execute(BEGIN_CLAIM)
    execute = sql.SQL("EXECUTE {}({})").format(sql.Identifier(name), arguments)
    ((plan,),) = connection.execute(sql.SQL(EXPLAIN.decode()) + execute).fetchall()
    connection.execute("UPDATE outbox.message SET claimed_until = NULL WHERE claimed_until IS NOT NULL")
    connection.execute("COMMIT")
    return list(nodes(plan[0]["Plan"]))


def claims(**changed: int) -> dict[str, Any]:
    """The parameters of a claim, in the types that the store gives them."""
    return (
        terms(StoreConfig(str), token=NOBODY, rows=500, low=0)
        | {"high": Int8(2**63 - 1)}
        | {name: Int8(value) for name, value in changed.items()}
    )


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan and everything below it."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def indexes(plan: list[dict[str, Any]]) -> set[str]:
    """The indexes it walks."""
    return {node["Index Name"] for node in plan if "Index Name" in node}


def scans(plan: list[dict[str, Any]]) -> set[str]:
    """How it reads tables."""
    return {node["Node Type"] for node in plan if node.get("Relation Name") == "message"} - {"ModifyTable"}


def pages(plan: list[dict[str, Any]], index: str | None = None) -> int:
    """Pages that the whole of it touched, or its walk along that index."""
    node = next(each for each in plan[1:] if each.get("Index Name") == index) if index else plan[0]
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def looked_at(plan: list[dict[str, Any]]) -> int:
    """Rows read from the table, kept or not."""
    kept = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in plan if "Index Name" in node)
    return int(max(kept))


def read(plan: list[dict[str, Any]]) -> int:
    """Rows read along any index, kept or not, however often it was walked."""
    walks = [node for node in plan if "Index Name" in node]
    return int(
        sum((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in walks)
    )


@contextmanager
def sent_under_an_old_snapshot(aging: Connection[Any]) -> Iterator[None]:
    """Mark 60,000 rows sent that a long transaction may still read: no vacuum removes their entries from the index."""
    with psycopg.connect(aging.info.dsn, password=aging.info.password) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT count(*) FROM outbox.message WHERE id < 10")
        aging.execute("UPDATE outbox.message SET status = 'sent', sent_at = now() WHERE id <= 60000")
        aging.execute("VACUUM outbox.message")
        yield


def test_every_statement_of_the_daemon_has_a_cost_to_hold() -> None:
    composed = {field.name for field in fields(Queries)} | {"claim"}
    assert composed == {*COSTS, *THEIR_FUNCTION, *CATALOGS_ONLY}
    assert {f"{name}.sql" for name in composed} == {path.name for path in files("relay").joinpath("queries").iterdir()}


@pytest.mark.parametrize("name", COSTS)
def test_a_statement_rides_on_its_index_whatever_the_statistics_say(history: Connection[Any], name: str) -> None:
    params, expected, rows, limit = COSTS[name]
    query = CLAIM if name == "claim" else getattr(QUERIES, name)
    plan = explain(history, query, IN_ORDER if name == "turns" else DURABLE, **params)
    assert scans(plan) <= {"Index Scan", "Index Only Scan"}
    assert set() < indexes(plan) <= expected
    assert read(plan) <= rows
    assert pages(plan) <= limit


def test_a_plan_that_is_kept_rides_on_the_same_indexes(history: Connection[Any]) -> None:
    claims_cheaply(explain_kept(history, keep_plan(history)))


def test_a_plan_made_of_an_empty_table_serves_it_when_it_is_large(postgres: PostgresServer, template: str) -> None:
    """It is made once a connection, which may be before anybody uses the table."""
    for connection in filled(postgres, template):
        name = keep_plan(connection)
        for statement in (FILL, BEHIND):
            connection.execute(statement.encode())
        claims_cheaply(explain_kept(connection, name))


def claims_cheaply(plan: list[dict[str, Any]]) -> None:
    """Hold a claim of 500 rows to its cost."""
    _, expected, rows, limit = COSTS["claim"]
    assert scans(plan) <= {"Index Scan", "Index Only Scan"}
    assert indexes(plan) == expected
    assert (plan[0]["Actual Rows"], looked_at(plan)) == (500, 500)
    assert read(plan) <= rows
    assert pages(plan) <= limit


@pytest.mark.parametrize("name", CATALOGS_ONLY)
def test_a_look_at_the_table_reads_none_of_its_rows(history: Connection[Any], name: str) -> None:
    assert scans(explain(history, getattr(QUERIES, name), schema="outbox", table="message")) == set()


def test_a_claim_looks_at_the_rows_it_takes_and_at_no_other(history: Connection[Any]) -> None:
    plan = explain(history, CLAIM, low=0, **LIMITS)
    assert indexes(plan) == {"message_pending", "message_pkey"}
    assert (looked_at(plan), plan[0]["Actual Rows"]) == (500, 500)


def test_a_claim_costs_the_same_with_a_million_rows_waiting(history: Connection[Any], backlog: Connection[Any]) -> None:
    small, large = (explain(each, CLAIM, low=0, **LIMITS) for each in (history, backlog))
    assert indexes(large) == {"message_pending", "message_pkey"}
    assert looked_at(large) == 500
    # The search touches a page or two a row, depending on what was taken back in this test's own table before.
    assert max(pages(each, "message_pending") for each in (small, large)) < 3 * 500


@pytest.mark.parametrize(
    "name", ["renew", "mark_sent", "mark_sent_late", "mark_retry", "mark_failed", "release", "settled"]
)
def test_a_mark_reads_its_own_rows_with_a_million_rows_waiting(backlog: Connection[Any], name: str) -> None:
    assert read(explain(backlog, getattr(QUERIES, name), **MARKS)) == 500


def test_a_claim_passes_by_no_more_rows_that_are_not_due_than_its_window_holds(aging: Connection[Any]) -> None:
    aging.execute("UPDATE outbox.message SET available_at = now() + interval '1 day'")
    window = StoreConfig(str).scan_ids
    plan = explain(aging, CLAIM, **LIMITS | {"low": 0, "high": window})
    assert (plan[0]["Actual Rows"], looked_at(plan)) == (0, window - 1)
    assert pages(plan) < 4 * window
    assert read(explain(aging, QUERIES.first_due, low=0, high=window)) == window - 1
    assert read(explain(aging, QUERIES.beyond, high=window)) == 1


def test_a_claim_from_the_low_mark_skips_the_dead_head_of_the_index(aging: Connection[Any]) -> None:
    """An old snapshot keeps the index entries of sent rows alive, and a scan from 0 walks over all of them."""
    with sent_under_an_old_snapshot(aging):
        from_mark = explain(aging, CLAIM, low=60_001, **LIMITS)
        from_zero = explain(aging, CLAIM, low=0, **LIMITS)
    assert pages(from_mark, "message_pending") < pages(from_zero, "message_pending") / 3
    assert (looked_at(from_mark), from_mark[0]["Actual Rows"]) == (500, 500)


def test_the_backlog_sample_costs_what_its_cap_says_with_a_million_rows_waiting(backlog: Connection[Any]) -> None:
    cap = Settings.model_fields["backlog_count_cap"].default
    plan = explain(backlog, QUERIES.backlog, cap=cap, low=0, unseen=BACKLOG // 2)
    # Each row that is counted, and for the age a thousand of the head and a thousand of what no claim has seen yet.
    assert looked_at(plan) <= cap + 1
    assert read(plan) <= cap + 1 + 2 * 1000
    assert pages(plan) < 2000


def test_a_sample_from_where_rows_wait_skips_the_dead_head_of_the_index(aging: Connection[Any]) -> None:
    with sent_under_an_old_snapshot(aging):
        from_mark = explain(aging, QUERIES.backlog, cap=10_000, low=60_001, unseen=60_001)
        from_zero = explain(aging, QUERIES.backlog, cap=10_000, low=0, unseen=0)
    assert pages(from_mark) < 200
    assert pages(from_zero) > 1000


def test_a_sample_of_a_table_in_which_no_row_waits_finds_its_last_row_at_once(aging: Connection[Any]) -> None:
    ((last,),) = aging.execute("SELECT max(id) FROM outbox.message").fetchall()
    with sent_under_an_old_snapshot(aging):
        aging.execute("UPDATE outbox.message SET status = 'sent', sent_at = now() WHERE status = 'pending'")
        whole = explain(aging, QUERIES.backlog, cap=10_000, low=0, unseen=0)
        behind = explain(aging, QUERIES.backlog, cap=10_000, low=last, unseen=0)
    assert (read(whole), read(behind)) == (1, 1)
    assert pages(whole) > 1000
    assert pages(behind) < 50


def test_a_look_for_the_oldest_sent_row_skips_what_cleanups_have_deleted_since_the_last_one(
    aging: Connection[Any],
) -> None:
    aging.execute("UPDATE outbox.message SET status = 'sent', sent_at = to_timestamp(id)")
    aging.execute("VACUUM outbox.message")
    with psycopg.connect(aging.info.dsn, password=aging.info.password) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT count(*) FROM outbox.message WHERE id < 10")
        aging.execute("DELETE FROM outbox.message WHERE id <= 60000")
        aging.execute("VACUUM outbox.message")
        whole = explain(aging, QUERIES.oldest_sent, since=float("-inf"))
        from_mark = explain(aging, QUERIES.oldest_sent, since=60_000.0)
    assert pages(from_mark) < 20
    assert pages(whole) > 1000


def test_a_look_at_the_failed_rows_reads_a_thousand_at_most(aging: Connection[Any]) -> None:
    aging.execute("UPDATE outbox.message SET status = 'failed', last_error = 'unroutable: x'")
    aging.execute("VACUUM outbox.message")
    plan = explain(aging, QUERIES.failures)
    assert (indexes(plan), looked_at(plan), plan[0]["Actual Rows"]) == ({"message_failed"}, 1000, 10)
    assert pages(plan) < 1500


@pytest.mark.parametrize("begin", [DURABLE, b"BEGIN"], ids=["the relay's", "a person's"])
@pytest.mark.parametrize(
    ("function", "index", "values"),
    [
        ("delete_sent", "message_sent", {"older_than": "'1 s'::interval"}),
        ("delete_failed", "message_failed", {"older_than": "'1 s'::interval"}),
        ("requeue_failed", "message_failed", {"ids": "NULL::bigint[]", "reason": "NULL::text"}),
        ("requeue_failed", "message_failed", {"ids": "ARRAY[10000, 20000]::bigint[]", "reason": "'rejected'"}),
    ],
)
def test_the_functions_ride_on_their_index(
    history: Connection[Any], function: str, index: str, values: dict[str, str], begin: bytes
) -> None:
    """Their plan cannot be seen from outside, so their statement is taken out of them."""
    ((definition,),) = history.execute(
        "SELECT pg_get_functiondef(p.oid) FROM pg_proc AS p WHERE proname = %s", (function,)
    ).fetchall()
    body = definition[definition.index("BEGIN ATOMIC") + 12 : definition.rindex(";")]
    for name, value in ({"max_rows": "100"} | values).items():
        body = body.replace(f"{function}.{name}", value)
    plan = explain(history, body.replace("%", "%%").encode(), begin)
    assert indexes(plan) == {index, "message_pkey"}
    if begin == DURABLE:
        assert scans(plan) == {"Index Scan"}
        assert read(plan) <= 2 * 100
    else:  # the planner's choice; of a table never analyzed it may sort all that the index holds
        assert scans(plan) <= {"Index Scan", "Bitmap Heap Scan"}


def test_each_query_names_the_index_it_rides_on() -> None:
    for path in files("relay").joinpath("queries").iterdir():
        text = path.read_text()
        assert re.match(r"-- [A-Z][^.]+[.:;]", text), path.name
        assert re.search(r"rides? on", text, re.IGNORECASE), path.name
        code = re.sub(r"--.*|'[^']*'", "", text)
        assert ";" not in code, f"{path.name} is one statement"


async def test_claims_and_renewals_keep_rows_in_their_page(db: Database) -> None:
    """No indexed column changes, and each page has room for its rows once more: hardly ever is an index touched."""
    given = await db.insert(n=500)
    async with a_store(db.url) as store:
        taken = await claim(store)
        await store.renew(taken.token, given)

    async def told() -> bool:  # sessions tell the statistics when they end
        query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'message'"
        ((updated, in_place),) = await db.fetch(query)
        return bool(updated == 1000 and in_place > 900)

    await eventually(told)
