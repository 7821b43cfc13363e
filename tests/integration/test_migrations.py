"""Migrations against a real server: up, down, up again, and everything that stands in the way."""

import asyncio
import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import psycopg
import pytest
from psycopg import sql

from relay import migrate
from relay.migrate import MigrationError, files, runner
from relay.model import Fault, Release
from relay.ports import StoreUnavailable
from services.postgres import PostgresServer
from tests.stores import a_store, claim, ids, sent

ANY_AGE = timedelta(seconds=-1)
NAMES = ["0001_message", "0002_functions", "0003_roles", "0004_fillfactor"]
OPT_INS = ["1001_ordering", "1002_doorbell"]
HOSTILE = [
    ('we"ird', 'we"ird'),
    ("UPPER case; --", "Ta'b%le {} %s"),
    ("line\nbreak", "$do$ $do_$"),
    ("ü" * 31, "x" * 63),
    ("message", "outbox"),
]
CATALOG = """
SELECT 'relation', c.relname, c.relkind::text, coalesce(c.relacl::text, ''), coalesce(c.reloptions::text, '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'outbox'
UNION ALL
SELECT 'function', p.proname, pg_get_functiondef(p.oid), p.proacl::text, coalesce(obj_description(p.oid), '')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'outbox'
UNION ALL
SELECT 'column', a.attname, format_type(a.atttypid, a.atttypmod), coalesce(a.attacl::text, ''),
  coalesce(col_description(a.attrelid, a.attnum), '')
FROM pg_attribute a WHERE a.attrelid = to_regclass('outbox.message') AND a.attnum > 0
UNION ALL
SELECT 'index', indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname = 'outbox'
ORDER BY 1, 2, 3
"""


@pytest.fixture
def empty(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    name = f"relay_empty_{token_hex(4)}"
    postgres.create_database(name)
    yield postgres.url(name)
    postgres.drop_database(name)


def states(url: str, **names: str) -> list[str]:
    """How far each migration is."""
    return [each.state for each in migrate.status(url, **names)]


def ask(url: str, query: Any, *params: object) -> list[tuple[Any, ...]]:
    """Run one statement; its rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query, params or None)
        return cursor.fetchall() if cursor.description else []


def test_up_down_and_up_again_make_the_same(empty: str) -> None:
    before = ask(empty, CATALOG)
    assert migrate.up(empty) == tuple(NAMES)
    made = ask(empty, CATALOG)
    assert migrate.down(empty, to=0) == tuple(reversed(NAMES))
    assert ask(empty, CATALOG) == before == []
    assert migrate.up(empty) == tuple(NAMES)
    assert ask(empty, CATALOG) == made


def test_up_again_does_nothing(empty: str) -> None:
    migrate.up(empty)
    assert migrate.apply(empty) == ()
    assert migrate.down(empty) == ("0004_fillfactor",)
    assert migrate.down(empty, steps=1) == ("0003_roles",)
    assert migrate.up(empty) == tuple(NAMES[2:])


def test_status_tells_what_is_applied(empty: str) -> None:
    assert [(str(each), each.applied_at) for each in migrate.status(empty)] == [
        *((f"{name}: pending", None) for name in NAMES),
        *((f"{name}: optional", None) for name in OPT_INS),
    ]
    migrate.up(empty)
    migrate.down(empty)
    assert states(empty) == [*["applied"] * (len(NAMES) - 1), "pending", *["optional"] * len(OPT_INS)]
    assert migrate.status(empty)[0].as_dict()["name"] == "message"


def test_an_edited_migration_is_refused(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate.up(empty)
    edit(monkeypatch, lambda all_of_them: [dataclasses.replace(all_of_them[0], up="-- edited"), *all_of_them[1:]])
    for work in (migrate.up, migrate.down):
        with pytest.raises(MigrationError, match="0001_message was edited after it was applied"):
            work(empty)
    assert migrate.status(empty)[0].state == "edited"


def test_a_migration_of_a_newer_version_is_refused(empty: str) -> None:
    migrate.up(empty)
    ask(empty, "INSERT INTO outbox.migration (version, name, checksum, table_name) VALUES (9, 'later', 'x', 'message')")
    for work in (migrate.up, migrate.down):
        with pytest.raises(MigrationError, match="0009_later is applied but unknown here: a newer relay"):
            work(empty)
    assert [str(each).split(" ")[:2] for each in migrate.status(empty)][len(NAMES)] == ["0009_later:", "unknown"]


def edit(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Run with other files than the released ones."""
    changed = tuple(change(list(files.migrations())))
    monkeypatch.setattr(runner, "migrations", lambda: changed)


def test_a_migration_that_fails_leaves_nothing_of_it(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = files.Migration(len(NAMES) + 1, "bad", 'CREATE TABLE "outbox".half (); SELECT 1/0;', "")
    edit(monkeypatch, lambda all_of_them: [*all_of_them, bad])
    with pytest.raises(MigrationError, match="0005_bad was not applied: 22012 division by zero"):
        migrate.up(empty)
    assert ask(empty, "SELECT to_regclass('outbox.half') IS NULL") == [(True,)]
    assert states(empty)[: len(NAMES) + 1] == ["applied"] * len(NAMES) + ["pending"]


def test_a_table_made_by_other_means_is_told(empty: str) -> None:
    ask(empty, migrate.sql())
    with pytest.raises(MigrationError, match=r"0001_message was not applied: 42P07 .* made by other means"):
        migrate.up(empty)


def test_a_second_table_in_the_same_schema_is_refused(empty: str) -> None:
    migrate.up(empty)
    with pytest.raises(MigrationError, match="schema outbox holds the outbox table message, not other"):
        migrate.up(empty, table="other")


async def test_runners_at_once_are_harmless(empty: str) -> None:
    name = empty.rpartition("/")[2].partition("?")[0]
    # A repeatable read would not see what the other runner did while this one waited.
    isolation = sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'")
    ask(empty, isolation.format(sql.Identifier(name)))
    done = await asyncio.gather(*(asyncio.to_thread(migrate.up, empty) for _ in range(4)))
    assert sorted(step for steps in done for step in steps) == NAMES


def test_a_runner_that_waits_too_long_for_another_says_so(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "WAIT_S", 0.1)
    with psycopg.connect(empty) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (runner.LOCK_KEY,))
        with pytest.raises(MigrationError, match="another `relay migrate` has been at work"):
            migrate.up(empty)


def test_a_table_in_use_is_told(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate.up(empty)
    quick = [dataclasses.replace(each, down=each.down.replace("'5s'", "'100ms'")) for each in files.migrations()]
    monkeypatch.setattr(runner, "migrations", lambda: tuple(quick))
    with psycopg.connect(empty) as reader:
        reader.execute("SELECT FROM outbox.message")
        with pytest.raises(MigrationError, match="A long transaction uses the table"):
            migrate.down(empty, to=0)
    assert states(empty)[:3] == ["applied", "pending", "pending"]


def test_a_login_without_rights_is_told_what_to_do(empty: str, postgres: PostgresServer) -> None:
    role = f"weak_{token_hex(4)}"
    postgres.admin(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(sql.Identifier(role)))
    name = empty.rpartition("/")[2].partition("?")[0]
    try:
        with pytest.raises(MigrationError, match=r"42501 .*`relay migrate sql`"):
            migrate.up(postgres.url(name, role, "p"))
    finally:
        postgres.admin(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_a_schema_made_beforehand_will_do_without_the_right_to_make_one(empty: str, postgres: PostgresServer) -> None:
    role, name = f"owner_{token_hex(4)}", empty.rpartition("/")[2].partition("?")[0]
    owner = sql.Identifier(role)
    postgres.admin(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(owner))
    try:
        ask(empty, sql.SQL("CREATE SCHEMA outbox AUTHORIZATION {}").format(owner))
        assert migrate.up(postgres.url(name, role, "p")) == tuple(NAMES)
        assert migrate.down(postgres.url(name, role, "p"), to=0) == tuple(reversed(NAMES))
        # The same as plain SQL, by a team's own tool.
        ask(postgres.url(name, role, "p"), migrate.sql())
    finally:
        postgres.drop_database(name)
        postgres.admin(sql.SQL("DROP ROLE {}").format(owner))


def test_an_unreachable_server_is_told_as_such() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        migrate.up("postgresql://u:secret@127.0.0.1:1/x")
    assert (caught.value.fault, "secret" in str(caught.value)) == (Fault.REFUSED, False)


@pytest.mark.parametrize(("schema", "table"), HOSTILE)
async def test_hostile_names_work_through_the_whole_store(empty: str, schema: str, table: str) -> None:
    assert len(await asyncio.to_thread(migrate.up, empty, schema=schema, table=table)) == len(NAMES)
    assert states(empty, schema=schema, table=table)[:3] == ["applied"] * 3
    insert = sql.SQL("INSERT INTO {} (routing_key, payload) SELECT 'a', '{{}}' FROM generate_series(1, 3) RETURNING id")
    given = [row_id for (row_id,) in ask(empty, insert.format(sql.Identifier(schema, table)))]
    async with a_store(empty, schema=schema, table=table) as store:
        assert await store.problems() == ()
        taken = await claim(store)
        assert ids(taken) == given
        assert await store.renew(taken.token, given) == frozenset(given)
        assert await store.settle(taken.token, [sent(taken, given[0]), Release(given[1])]) == frozenset()
        assert (await store.backlog()).pending == 2
        assert await store.cleanup(ANY_AGE, dry_run=True) == 1
        assert await store.cleanup(ANY_AGE) == 1
        assert await store.requeue() == 0
    assert len(migrate.down(empty, schema=schema, table=table, to=0)) == len(NAMES)


@pytest.mark.parametrize(("schema", "table"), [("outbox", "message"), *HOSTILE])
def test_psql_takes_the_printed_statements(empty: str, schema: str, table: str, tmp_path: Path) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("no psql on this machine: apt-get install postgresql-client")
    for backwards in (False, True):
        script = tmp_path / "script.sql"
        script.write_text(migrate.sql(schema, table, backwards=backwards))
        command = [psql, "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", empty, "-f", str(script)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")


def test_every_object_has_a_comment(empty: str) -> None:
    migrate.up(empty)
    missing = ask(
        empty,
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
        "WHERE c.oid = 'outbox.message'::regclass AND col_description(c.oid, a.attnum) IS NULL "
        "UNION ALL SELECT c.relname, NULL FROM pg_class c WHERE c.relnamespace = 'outbox'::regnamespace "
        "AND c.relkind IN ('r', 'i') AND c.relname <> 'migration_pkey' AND obj_description(c.oid) IS NULL "
        "UNION ALL SELECT p.proname, NULL FROM pg_proc p "
        "WHERE p.pronamespace = 'outbox'::regnamespace AND obj_description(p.oid) IS NULL",
    )
    assert missing == []


def test_the_functions_of_the_migrated_database_are_the_readable_ones(empty: str) -> None:
    migrate.up(empty)
    defined = (
        "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'outbox'::regnamespace ORDER BY 1"
    )
    migrated = ask(empty, defined)
    for path in sorted((files.folder().parent / "functions").glob("*.sql")):
        ask(empty, path.read_text().replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    assert ask(empty, defined) == migrated
    assert len(migrated) == 3
