"""A row that the database cannot hand over is blamed alone: no relay stops for it, and its neighbours go out."""

import asyncio
from typing import Any, LiteralString

import pytest

from relay.model import Refusal, Refused
from relay.store import PostgresStore
from services.postgres import PostgresServer
from tests.builders import Amqp, Database, eventually
from tests.running import relay
from tests.stores import a_store, claim, ids, recode, row

NO_CHARACTER = Refused(Refusal.INVALID, "the database cannot spell it: 22P05 UntranslatableCharacter")
HUGE = "SELECT jsonb_agg('1e100000'::numeric) FROM generate_series(1, 11000)"
"""A document of 3 kB, as numbers are stored, and of 1.1 GB, as they are spelled."""


@pytest.fixture
async def western(postgres: PostgresServer, db: Database) -> Database:
    """A database whose encoding has bytes that are no character."""
    await recode(postgres, db, "WIN1252")
    return db


async def insert_bad(db: Database, column: LiteralString = "routing_key") -> int:
    """Insert a row that cannot be spelled in UTF-8."""
    values = {"routing_key": "'a'", "payload": "'1'::jsonb"} | {column: "chr(129)"}
    if column in {"payload", "headers", "properties"}:
        values[column] = "jsonb_build_object('x', chr(129))"
    query = f"INSERT INTO {{table}} ({', '.join(values)}) VALUES ({', '.join(values.values())}) RETURNING id"
    ((row_id,),) = await db.fetch(query)
    return int(row_id)


async def taken(store: PostgresStore, limit: int = 500) -> dict[int, Refused | None]:
    """Claim until nothing is left: each row, and why it is refused."""
    found: list[tuple[int, Refused | None]] = []
    while (rows := (await claim(store, limit)).rows) and rows:
        found += [(each.id, each.payload if isinstance(each.payload, Refused) else None) for each in rows]
    assert len(found) == len(dict(found)), "no row is claimed twice"
    return dict(found)


@pytest.mark.parametrize(
    "column", ["exchange", "routing_key", "key", "payload", "content_type", "headers", "properties"]
)
async def test_a_byte_that_is_no_character_blames_its_row_alone(western: Database, column: LiteralString) -> None:
    before = await western.insert(n=20)
    bad = await insert_bad(western, column)
    after = await western.insert(n=20)
    async with a_store(western.url) as store:
        assert await taken(store) == dict.fromkeys([*before, *after]) | {bad: NO_CHARACTER}
    assert await row(western, bad, "status", "claims", "failures") == ("pending", 1, 0)


async def test_many_bad_rows_are_told_from_many_good_ones(western: Database) -> None:
    good, bad = [], []
    for _ in range(5):
        bad += [await insert_bad(western), await insert_bad(western)]
        good += await western.insert(n=37)
    async with a_store(western.url) as store:
        assert await taken(store, 50) == dict.fromkeys(good) | dict.fromkeys(bad, NO_CHARACTER)


async def test_relays_that_meet_a_bad_row_together_blame_no_other(western: Database) -> None:
    for _ in range(10):
        bad = await insert_bad(western)
        good = await western.insert(n=3)
        async with a_store(western.url) as one, a_store(western.url) as other:
            halves = await asyncio.gather(*(taken(store, limit) for store, limit in ((one, 1), (other, 2))))
        assert not halves[0].keys() & halves[1].keys()
        assert halves[0] | halves[1] == dict.fromkeys(good) | {bad: NO_CHARACTER}
        await western.fetch("DELETE FROM {table}")


async def test_a_bad_row_that_is_passed_by_is_left_to_its_holder(western: Database) -> None:
    bad = await insert_bad(western)
    (good,) = await western.insert()
    other = await western.connect()
    async with a_store(western.url) as store, other.transaction():
        await other.execute("SELECT FROM outbox.message WHERE id = %s FOR UPDATE", (bad,))
        assert await taken(store, 1) == {good: None}


async def test_damage_to_one_value_blames_its_row(db: Database) -> None:
    await db.fetch("ALTER TABLE {table} ALTER COLUMN headers SET STORAGE EXTERNAL")
    (bad,) = await db.insert(headers={"x": "y" * 10_000})
    good = await db.insert(n=3)
    ((chunks,),) = await db.fetch("SELECT reltoastrelid::regclass::text FROM pg_class WHERE relname = 'message'")
    await db.fetch("CREATE EXTENSION pg_surgery")
    await db.fetch(f"SELECT heap_force_kill('{chunks}', ARRAY(SELECT ctid FROM {chunks}))")
    async with a_store(db.url) as store:
        assert await taken(store) == dict.fromkeys(good) | {
            bad: Refused(Refusal.UNREADABLE, "the database cannot read it: XX001 DataCorrupted")
        }


SLOW: LiteralString = """
CREATE SCHEMA slow;
CREATE FUNCTION slow.convert_to(document text, encoding name) RETURNS bytea LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_sleep(CASE WHEN document LIKE '%%slow%%' THEN 20 ELSE 0 END);
  RETURN pg_catalog.convert_to(document, encoding);
END $$;
DO $$ BEGIN
  EXECUTE format('ALTER DATABASE %%I SET search_path = slow, pg_catalog', current_database());
END $$;
"""


async def test_a_row_that_takes_too_long_to_spell_waits_and_does_not_block(db: Database) -> None:
    (bad,) = await db.insert(payload={"a": "slow"})
    good = await db.insert(n=3)
    await (await db.connect()).execute(SLOW.replace("%%", "%"))
    async with a_store(db.url) as store:
        assert await taken(store, 1) == dict.fromkeys(good) | {
            bad: Refused(Refusal.UNREADABLE, "the database cannot spell it in 5 s")
        }


@pytest.mark.timeout(180)
async def test_a_number_of_digits_beyond_every_text_fails_its_row_and_stops_no_relay(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    (bad,) = await db.insert()
    await db.fetch("UPDATE {table} SET payload = (" + HUGE + ")")
    await db.insert(n=30)
    async with relay(db, amqp, BATCH_SIZE=10) as process:

        async def settled() -> None:
            assert await db.statuses() == {"sent": 30, "failed": 1}

        await eventually(settled, 120)
        assert await process.stop() == 0
    assert await row(db, bad, "failures", "last_error") == (
        1,
        "invalid: the database cannot spell it: 54000 ProgramLimitExceeded",
    )
    assert await amqp.count("all") == 30


async def test_a_claim_that_meets_no_bad_row_is_three_messages_to_the_server(own_database: Any) -> None:
    server, db = await asyncio.to_thread(own_database, settings={"log_statement": "all"})
    await db.insert(n=3)
    log = server.folder / "postgres.log"
    async with a_store(db.url) as store:
        assert len(ids(await claim(store, limit=1))) == 1  # a connection is asked once whether a pooler stands between
        before = len(log.read_text())
        assert len(ids(await claim(store))) == 2
        told = log.read_text()[before:].split("outbox-relay LOG:  ")[1:]
    asked = [text for text in told if not text.startswith("statement: \n2")]  # the pool asks whether it answers
    assert [word in text for word, text in zip(("BEGIN", "WITH", "COMMIT"), asked, strict=True)] == [True] * 3
