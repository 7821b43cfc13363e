"""Migrations that are applied when named, outside a transaction too, against a real server."""

import asyncio
import dataclasses
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import psycopg
import pytest

from relay import migrate
from relay.migrate import MigrationError, files, runner
from relay.migrate.files import Names
from services.find import OwnPostgres
from services.pgbouncer import PgBouncer
from services.postgres import PostgresServer
from tests.builders import Database, eventually

NAMES = ["0001_message", "0002_functions", "0003_roles", "0004_fillfactor"]
HOSTILE = [("outbox", "message"), ('we"ird', 'we"ird'), ("a;\nb", "c;\n-- %s {} '"), ("ü" * 31, "x" * 63)]
INDEXES = """
SELECT c.relname, i.indisvalid, obj_description(c.oid), pg_get_expr(i.indpred, i.indrelid), i.indkey::text
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = ANY (%s) ORDER BY i.indnkeyatts DESC
"""


@pytest.fixture
def empty(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    name = f"relay_empty_{token_hex(4)}"
    postgres.create_database(name)
    yield postgres.url(name)
    postgres.drop_database(name)


def ask(url: str, query: Any, *params: object) -> list[tuple[Any, ...]]:
    """Run one statement; its rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query, params or None)
        return cursor.fetchall() if cursor.description else []


def indexes(url: str, schema: str = "outbox", table: str = "message") -> list[tuple[Any, ...]]:
    """The indexes of the ordering."""
    names = Names(schema, table)
    return ask(url, INDEXES, schema, [names.derived("_key"), names.derived("_failed_key")])


def valid(schema: str = "outbox", table: str = "message") -> list[tuple[Any, ...]]:
    """What `indexes` says when all is well."""
    names = Names(schema, table)
    failed = "((status = 'failed'::text) AND (key IS NOT NULL))"
    return [
        (
            names.derived("_key"),
            True,
            "Claims that keep order per key go from key to key by it.",
            "(status = 'pending'::text)",
            "5 1",
        ),
        (names.derived("_failed_key"), True, "Finds keys that a failed row blocks.", failed, "5"),
    ]


def states(url: str) -> dict[str, str]:
    """How far each migration is."""
    return {each.name: each.state for each in migrate.status(url)}


@pytest.mark.parametrize(("schema", "table"), HOSTILE)
def test_an_opt_in_is_applied_after_what_is_missing_and_taken_back_alone(empty: str, schema: str, table: str) -> None:
    assert migrate.up(empty, schema=schema, table=table, only="ordering") == (*NAMES, "1001_ordering")
    assert indexes(empty, schema, table) == valid(schema, table)
    assert migrate.up(empty, schema=schema, table=table, only="ordering") == ()
    assert migrate.down(empty, schema=schema, table=table, only="ordering") == ("1001_ordering",)
    assert indexes(empty, schema, table) == []
    assert migrate.down(empty, schema=schema, table=table, only="ordering") == ()
    assert migrate.up(empty, schema=schema, table=table, only="ordering") == ("1001_ordering",)
    assert migrate.down(empty, schema=schema, table=table, to=0) == ("1001_ordering", *reversed(NAMES))


def test_plain_up_leaves_an_opt_in_out_and_down_takes_the_newest_first(empty: str) -> None:
    assert migrate.up(empty) == tuple(NAMES)
    assert states(empty)["ordering"] == "optional"
    migrate.up(empty, only="ordering")
    assert states(empty)["ordering"] == "applied"
    assert migrate.down(empty, steps=2) == ("1001_ordering", "0004_fillfactor")
    assert (states(empty)["ordering"], states(empty)["fillfactor"]) == ("optional", "pending")


def test_an_edited_opt_in_is_refused(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate.up(empty, only="ordering")
    edited = tuple(dataclasses.replace(each, up=each.up + "-- edited") for each in files.opt_ins())
    monkeypatch.setattr(runner, "opt_ins", lambda: edited)
    for work in (migrate.up, migrate.down):
        with pytest.raises(MigrationError, match="1001_ordering was edited after it was applied"):
            work(empty)
    assert states(empty)["ordering"] == "edited"


async def test_producers_write_while_the_indexes_are_made_beside_an_old_transaction(db: Database) -> None:
    old = await psycopg.AsyncConnection.connect(db.url)
    await old.execute("INSERT INTO outbox.message (routing_key, payload) VALUES ('a', '{}')")
    work = asyncio.create_task(asyncio.to_thread(migrate.up, db.url, only="ordering"))

    async def waits() -> None:
        asked = "SELECT phase FROM pg_stat_progress_create_index WHERE relid = 'outbox.message'::regclass"
        assert await db.fetch(asked) == [("waiting for writers before build",)]

    try:
        await eventually(waits)
        await db.fetch("SET lock_timeout = '2s'")
        await db.insert()
        assert not work.done()
    finally:
        await old.commit()
        await old.close()
    assert await work == ("1001_ordering",)
    assert (indexes(db.url), await db.statuses()) == (valid(), {"pending": 2})


def test_what_a_failed_try_left_invalid_is_made_anew_and_what_is_valid_stays(db: Database) -> None:
    timeout = f"{db.url}{'&' if '?' in db.url else '?'}options=-c%20statement_timeout%3D300"
    made = files.opt_in("ordering").up
    first, second = made.index("CREATE INDEX"), made.rindex("CREATE INDEX")
    ask(db.url, made[first:second].encode())
    kept = ask(db.url, "SELECT 'outbox.message_key'::regclass::oid")
    with psycopg.connect(db.url) as old:
        old.execute("INSERT INTO outbox.message (routing_key, payload) VALUES ('a', '{}')")
        with pytest.raises(MigrationError, match=r"1001_ordering was not applied: 57014 .*statement_timeout%3D0"):
            migrate.up(timeout, only="ordering")
    assert [(name, good) for name, good, *_ in indexes(db.url)] == [
        ("message_key", True),
        ("message_failed_key", False),
    ]
    assert states(db.url)["ordering"] == "optional"
    assert migrate.up(db.url, only="ordering") == ("1001_ordering",)
    assert (indexes(db.url), ask(db.url, "SELECT 'outbox.message_key'::regclass::oid")) == (valid(), kept)


async def test_runners_at_once_are_harmless(db: Database) -> None:
    done = await asyncio.gather(*(asyncio.to_thread(migrate.up, db.url, only="ordering") for _ in range(3)))
    assert sorted(done) == [(), (), ("1001_ordering",)]
    assert indexes(db.url) == valid()


def test_it_works_through_a_transaction_pooler(
    own_postgres: Callable[..., OwnPostgres], own_pgbouncer: Callable[..., PgBouncer]
) -> None:
    server = own_postgres()
    pooler = own_pgbouncer(server)
    server.create_database("service")
    assert migrate.up(pooler.url("service"), only="ordering") == (*NAMES, "1001_ordering")
    assert indexes(server.url("service")) == valid()
    assert migrate.down(pooler.url("service"), only="ordering") == ("1001_ordering",)


@pytest.mark.parametrize(("schema", "table"), HOSTILE)
def test_psql_takes_the_printed_opt_in(empty: str, schema: str, table: str, tmp_path: Path) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("no psql on this machine: apt-get install postgresql-client")
    migrate.up(empty, schema=schema, table=table)
    for backwards, made in ((False, valid(schema, table)), (True, [])):
        script = tmp_path / "script.sql"
        script.write_text(migrate.sql(schema, table, only="ordering", backwards=backwards))
        command = [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", empty, "-f", str(script)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")
        assert indexes(empty, schema, table) == made
