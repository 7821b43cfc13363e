"""Payload columns of every type are handed over byte for byte."""

import json
from collections.abc import Iterator
from secrets import token_hex
from typing import Any, LiteralString

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import Connection, sql

from relay.store.queries import compose_claim
from relay.store.rows import ID_MAX
from services.postgres import PostgresServer
from tests.builders import Database
from tests.stores import NOBODY, a_store, claim, recode

BODIES = {
    "empty": b"",
    "text": "grün 🐘 \\ \" ' % %s {}".encode(),
    "json with its own spacing": b'{ "b" :1.0,\n"a": 12345678901234567890.123456789, "a": 2}',
    "every byte": bytes(range(256)) * 3,
    "a megabyte": bytes(range(256)) * 4096,
}
TEXTS = {name: body for name, body in BODIES.items() if name in {"empty", "text", "json with its own spacing"}}


async def alter(db: Database, column_type: LiteralString) -> None:
    """Change the payload's type, as a team may."""
    using = "convert_to(payload::text, 'UTF8')" if column_type == "bytea" else f"payload::{column_type}"
    await db.fetch(
        sql.SQL("ALTER TABLE {} ALTER COLUMN payload TYPE {} USING {}").format(
            db.table, sql.SQL(column_type), sql.SQL(using)
        )
    )


async def handed_over(db: Database, body: object) -> tuple[object, int]:
    """Insert one payload and claim it."""
    await db.fetch("DELETE FROM {table}")
    await db.insert(payload=lambda _: body)
    async with a_store(db.url) as store:
        (row,) = (await claim(store)).rows
    return row.payload, row.payload_bytes


@pytest.mark.parametrize("name", BODIES)
async def test_bytea_is_sent_as_it_is(db: Database, name: str) -> None:
    await alter(db, "bytea")
    assert await handed_over(db, BODIES[name]) == (BODIES[name], len(BODIES[name]))


@pytest.mark.parametrize("name", TEXTS)
async def test_text_is_sent_as_it_is(db: Database, name: str) -> None:
    await alter(db, "text")
    assert await handed_over(db, TEXTS[name].decode()) == (TEXTS[name], len(TEXTS[name]))


async def test_varchar_is_sent_as_it_is(db: Database) -> None:
    await alter(db, "varchar(100)")
    assert await handed_over(db, "grün") == ("grün".encode(), 5)


async def test_json_keeps_its_spacing_its_keys_and_its_digits(db: Database) -> None:
    body = TEXTS["json with its own spacing"]
    await alter(db, "json")
    assert await handed_over(db, body.decode()) == (body, len(body))


async def test_jsonb_is_sent_as_postgres_spells_it(db: Database) -> None:
    body = '{"b": 1.0, "a": 12345678901234567890.123456789, "ü": "🐘"}'
    await handed_over(db, body)
    ((spelled,),) = await db.fetch("SELECT payload::text FROM {table}")
    assert await handed_over(db, body) == (spelled.encode(), len(spelled.encode()))
    assert "12345678901234567890.123456789" in spelled


async def test_a_domain_over_jsonb_will_do(db: Database) -> None:
    await db.fetch("CREATE DOMAIN event AS jsonb CHECK (jsonb_typeof(VALUE) = 'object')")
    await db.fetch("ALTER TABLE {table} ALTER COLUMN payload TYPE event")
    assert await handed_over(db, '{"a":1}') == (b'{"a": 1}', 8)


async def test_a_latin1_database_is_sent_as_utf8(postgres: PostgresServer, db: Database) -> None:
    await recode(postgres, db, "LATIN1")
    await alter(db, "text")
    assert await handed_over(db, "grün") == ("grün".encode(), 5)


async def test_bytes_of_a_database_without_encoding_are_sent_as_they_are(
    postgres: PostgresServer, db: Database
) -> None:
    await recode(postgres, db, "SQL_ASCII")
    await alter(db, "text")
    loose = ["convert_from('\\xfe6b'::bytea, 'SQL_ASCII')", "convert_from('\\xff61'::bytea, 'SQL_ASCII')"]
    await db.fetch("INSERT INTO {table} (routing_key, payload) VALUES (" + ", ".join(loose) + ")")
    async with a_store(db.url) as store:
        (row,) = (await claim(store)).rows
    assert (row.payload, row.payload_bytes) == (b"\xffa", 2)
    assert row.routing_key == "\udcfek", "no message can carry it, so only its own row is refused"


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | NAMES,
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def connection(postgres: PostgresServer, template: str) -> Iterator[Connection[Any]]:
    """One connection for many examples, each of which is rolled back."""
    name = f"relay_documents_{token_hex(4)}"
    postgres.create_database(name, template=template)
    with psycopg.connect(postgres.url(name), autocommit=True) as opened:
        yield opened
    postgres.drop_database(name)


@settings(max_examples=200)
@given(document=DOCUMENTS)
def test_any_json_document_means_the_same_after_the_claim(connection: Connection[Any], document: object) -> None:
    query = compose_claim("outbox", "message", payload_type="jsonb", payload_type_id=3802, encoding="UTF8")
    params = {"low": 0, "high": ID_MAX, "rows": 1, "bytes": 1, "message_bytes": 10**9, "lease_s": 1.0, "token": NOBODY}
    insert = "INSERT INTO outbox.message (routing_key, payload) VALUES ('a', %s::jsonb)"
    with connection.transaction(force_rollback=True):
        connection.execute(insert, (json.dumps(document),))
        (record,) = connection.execute(query, params, binary=True).fetchall()
    assert json.loads(record[5]) == document
    assert record[6] == len(record[5])
