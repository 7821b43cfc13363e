"""A table that is not as the relay needs it: each fault is told, and its own remedy mends it."""

from typing import LiteralString

import pytest
from psycopg import sql

from relay.model import Fault
from relay.ports import StoreUnavailable
from tests.builders import Database
from tests.stores import a_store, claim, ids

BLOCKING: list[tuple[LiteralString, str]] = [
    ("DROP INDEX outbox.message_pending", "index.pending"),
    ("ALTER TABLE outbox.message DROP CONSTRAINT message_pkey", "index.id"),
    ("ALTER TABLE outbox.message DROP COLUMN claim_token", "column.missing"),
    ("ALTER TABLE outbox.message DROP COLUMN properties", "column.missing"),
    ("ALTER TABLE outbox.message ALTER COLUMN claims DROP NOT NULL", "column.nullable"),
    ("ALTER TABLE outbox.message ALTER COLUMN created_at TYPE timestamp", "column.type"),
    ("ALTER TABLE outbox.message ALTER COLUMN claim_token TYPE text", "column.type"),
]
WARNINGS: list[tuple[LiteralString, str]] = [
    ("DROP INDEX outbox.message_retrying", "index.retrying"),
    ("DROP INDEX outbox.message_failed", "index.failed"),
    ("DROP INDEX outbox.message_sent", "index.sent"),
    ("ALTER SEQUENCE outbox.message_id_seq CACHE 50", "sequence.cache"),
]


async def test_the_migrated_table_is_right(db: Database) -> None:
    async with a_store(db.url) as store:
        assert await store.problems() == ()
        await store.ready()


@pytest.mark.parametrize(("harm", "code"), BLOCKING)
async def test_what_is_told_mends_the_table(db: Database, harm: LiteralString, code: str) -> None:
    await db.fetch(harm)
    async with a_store(db.url) as store:
        (problem,) = await store.problems()
        assert problem.code == code
        with pytest.raises(StoreUnavailable, match=code) as caught:
            await claim(store)
        assert caught.value.fault is Fault.SCHEMA
        await db.fetch(sql.SQL(problem.fix))
        assert await store.problems() == ()
        given = await db.insert(n=2)
        assert ids(await claim(store)) == given


@pytest.mark.parametrize(("harm", "code"), WARNINGS)
async def test_a_warning_keeps_nothing_from_working(db: Database, harm: LiteralString, code: str) -> None:
    await db.fetch(harm)
    given = await db.insert(n=2)
    async with a_store(db.url) as store:
        (problem,) = await store.problems()
        assert (problem.code, problem.blocking) == (code, False)
        assert ids(await claim(store)) == given
        await db.fetch(sql.SQL(problem.fix))
        assert await store.problems() == ()


async def test_a_trigger_that_fires_on_updates_is_told(db: Database) -> None:
    await db.fetch("CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    await db.fetch("CREATE TRIGGER inserts BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION audit()")
    async with a_store(db.url) as store:
        assert await store.problems() == ()
        await db.fetch("CREATE TRIGGER audit BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION audit()")
        assert [each.code for each in await store.problems()] == ["table.trigger"]


async def test_an_invalid_index_is_told_and_mended(db: Database) -> None:
    await db.fetch("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'outbox.message_pending'::regclass")
    async with a_store(db.url) as store:
        (problem,) = await store.problems()
        assert (problem.code, "not valid" in problem.text) == ("index.pending", True)
        await db.fetch(sql.SQL(problem.fix))
        assert await store.problems() == ()


async def test_a_missing_schema_and_a_missing_table_are_told(db: Database) -> None:
    for schema, table, said in [
        ("nowhere", "message", 'no schema "nowhere"'),
        ("outbox", "nothing", 'no table "outbox"."nothing"'),
    ]:
        async with a_store(db.url, schema=schema, table=table) as store:
            with pytest.raises(StoreUnavailable, match="relay migrate up") as caught:
                await store.ready()
            assert (caught.value.fault, said in caught.value.detail) == (Fault.SCHEMA, True)
            assert caught.value.detail.startswith("schema.missing")


async def test_a_view_is_no_outbox(db: Database) -> None:
    await db.fetch("CREATE VIEW outbox.mirror AS SELECT * FROM {table}")
    async with a_store(db.url, table="mirror") as store:
        assert [each.code for each in await store.problems()] == ["table.kind"]


async def test_the_table_is_looked_at_once_and_again_after_a_failure(db: Database) -> None:
    looked: list[str] = []
    async with a_store(db.url, lambda op, _: looked.append(op)) as store:
        for _ in range(3):
            await store.ready()
        assert looked == ["ready"]
        await db.fetch("ALTER TABLE {table} RENAME TO away")
        with pytest.raises(StoreUnavailable, match="42P01"):
            await claim(store)
        with pytest.raises(StoreUnavailable, match=r"schema\.missing"):
            await store.ready()
        await db.fetch("ALTER TABLE outbox.away RENAME TO message")
        await store.ready()
        await store.ready()
    assert [op for op in looked if op != "settle"] == ["ready", "claim", "ready", "ready"]


@pytest.mark.parametrize(
    ("before", "after", "using"),
    [
        ("jsonb", "bytea", "convert_to(payload::text, 'UTF8')"),
        ("text", "bytea", "convert_to(payload, 'UTF8')"),
        ("bytea", "text", "convert_from(payload, 'UTF8')"),
        ("jsonb", "json", "payload::json"),
    ],
)
async def test_a_payload_whose_type_is_changed_under_a_running_relay_is_never_spelled_otherwise(
    db: Database, before: LiteralString, after: LiteralString, using: LiteralString
) -> None:
    first = "convert_to(payload::text, 'UTF8')" if before == "bytea" else f"payload::{before}"
    await alter(db, before, first)
    await db.insert(payload=lambda _: '{"a": 1}')
    async with a_store(db.url) as store:
        await store.ready()
        await alter(db, after, using)
        with pytest.raises(StoreUnavailable, match="type of the payload column") as caught:
            await claim(store)
        assert caught.value.fault is Fault.SCHEMA
        await store.ready()
        (row,) = (await claim(store)).rows
    assert (row.payload, row.claims) == (b'{"a": 1}', 1)


async def alter(db: Database, payload_type: str, using: str) -> None:
    """Change the type of the payload."""
    change = "ALTER TABLE {} ALTER COLUMN payload TYPE " + payload_type + " USING " + using
    await db.fetch(sql.SQL(change).format(db.table))
