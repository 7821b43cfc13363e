"""The doorbell between producers and relays that sleep, against a real server."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, LiteralString

import psycopg
import pytest

from relay import migrate
from relay.model import BellState, Doorbell
from relay.store import PostgresDoorbell, PostgresStore
from services.find import OwnPostgres
from services.pgbouncer import PgBouncer
from tests.builders import Database, eventually
from tests.stores import a_store, claim, config, send_all

RACES = 2000
INSERT: LiteralString = "INSERT INTO outbox.message (routing_key, payload) VALUES ('a', '{}')"


class Hand:
    """One relay's doorbell, and what it told."""

    def __init__(self, store: PostgresStore, url: str, **names: Any) -> None:
        self.told: list[BellState] = []
        self.rung = asyncio.Event()
        self.bell = PostgresDoorbell(
            config(url, application_name="relay-under-test", **names),
            store.doorbell,
            lambda state, _: self.told.append(state),
            lambda: None,
        )

    async def taken(self) -> None:
        """Take the bell, as soon as it is to be had."""

        async with asyncio.timeout(10):
            while not await self.bell.take(self.rung.set):  # noqa: ASYNC110 -- each try is a question to the server
                await asyncio.sleep(0)

    async def rings(self, within_s: float = 5.0) -> None:
        """Wait for a ring."""
        async with asyncio.timeout(within_s):
            await self.rung.wait()
        self.rung.clear()


@asynccontextmanager
async def a_hand(url: str, **names: Any) -> AsyncIterator[Hand]:
    """Make one, with a store of its own."""
    async with a_store(url, **names) as store:
        hand = Hand(store, url, **names)
        try:
            yield hand
        finally:
            await hand.bell.close()


@pytest.fixture
async def bell_db(db: Database) -> Database:
    """A database with a doorbell."""
    await asyncio.to_thread(migrate.up, db.url, only="doorbell")
    return db


async def holders(db: Database) -> int:
    """Sessions that hold the bell."""
    asked = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1650814060 AND mode = 'ExclusiveLock'"
    )
    return int((await db.fetch(asked))[0][0])


async def test_an_insert_rings_where_the_bell_is_held_and_only_there(bell_db: Database) -> None:
    async with a_hand(bell_db.url) as hand:
        await hand.taken()
        await bell_db.insert()
        await hand.rings()
        await hand.bell.let_go()
        listener = await bell_db.connect()
        table = await bell_db.fetch("SELECT 'outbox.message'::regclass::oid::bigint")
        await listener.execute(f"LISTEN relay_doorbell_{table[0][0]}".encode())
        await bell_db.insert()
        assert [each async for each in listener.notifies(timeout=0.3)] == []
        assert (hand.rung.is_set(), hand.told, await holders(bell_db)) == (False, [BellState.READY], 0)


async def test_of_two_relays_one_holds_the_bell_and_the_other_takes_it_when_it_is_let_go(bell_db: Database) -> None:
    async with a_hand(bell_db.url) as one, a_hand(bell_db.url) as other:
        await one.taken()
        for _ in range(3):
            assert not await other.bell.take(other.rung.set)
        await eventually(lambda: other.told == [BellState.READY])
        assert not await other.bell.take(other.rung.set)
        assert (one.bell.held, other.bell.held, await holders(bell_db)) == (True, False, 1)
        await one.bell.let_go()
        await other.taken()
        await bell_db.insert()
        await other.rings()
        assert not one.rung.is_set()


async def test_a_long_transaction_of_a_producer_keeps_the_bell_from_being_taken(bell_db: Database) -> None:
    async with a_hand(bell_db.url) as hand:
        await hand.taken()
        await hand.bell.let_go()
        async with await psycopg.AsyncConnection.connect(bell_db.url) as producer:
            await producer.execute(INSERT)
            assert not await hand.bell.take(hand.rung.set)
            await producer.commit()
            assert await hand.bell.take(hand.rung.set)


async def test_a_transaction_that_began_to_ring_before_it_was_rolled_back_rings_nobody(bell_db: Database) -> None:
    async with a_hand(bell_db.url) as hand:
        await hand.taken()
        async with await psycopg.AsyncConnection.connect(bell_db.url) as producer:
            await producer.execute(INSERT)
            await producer.rollback()
        await bell_db.fetch("SELECT 1")
        assert not hand.rung.is_set()
        await bell_db.insert()
        await hand.rings()


@pytest.mark.timeout(180)
async def test_no_row_is_missed_however_a_commit_races_with_the_taking_of_the_bell(bell_db: Database) -> None:
    """Rows come before, while and after the bell is taken; each is seen by the look after it or rings."""
    chance = random.Random(7)
    seen: set[int] = set()
    rang = looked = 0
    async with a_store(bell_db.url) as store, a_hand(bell_db.url) as hand:
        await hand.taken()
        await hand.bell.let_go()
        producer = await psycopg.AsyncConnection.connect(bell_db.url, autocommit=True)

        async def pause() -> None:
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)

        async def commit() -> None:
            await pause()
            async with producer.transaction():
                await producer.execute(INSERT)
                await pause()

        for number in range(1, RACES + 1):
            hand.rung.clear()
            coming = asyncio.create_task(commit())
            await hand.taken()
            taken = await send_all(store)
            looked, rang = (looked + 1, rang) if taken.rows else (looked, rang + 1)
            while not taken.rows:  # a ring may also be that of the row before, which the look had found without it
                await hand.rings()
                taken = await send_all(store)
            seen |= {row.id for row in taken.rows}
            assert len(seen) == number
            await coming
            await hand.bell.let_go()
        await producer.close()
    assert min(rang, looked) > RACES / 50, (rang, looked)


async def test_a_lost_session_rings_once_and_a_new_one_is_opened(
    bell_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.doorbell.OPEN_AGAIN_S", 0.0)
    async with a_hand(bell_db.url) as hand:
        await hand.taken()
        kill = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1650814060"
        await bell_db.fetch(kill)
        await hand.rings()
        assert (hand.bell.held, hand.told) == (False, [BellState.READY, BellState.LOST])
        await hand.taken()
        await bell_db.insert()
        await hand.rings()
        assert hand.told == [BellState.READY, BellState.LOST, BellState.READY]


async def test_the_server_ends_the_session_of_a_holder_that_is_silent(
    bell_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.doorbell.SILENCE_S", 1)
    async with a_hand(bell_db.url) as hand:
        await hand.taken()

        async def nobody() -> None:
            assert await holders(bell_db) == 0

        await eventually(nobody)
        await hand.rings()
        assert hand.told == [BellState.READY, BellState.LOST]


async def test_a_beat_keeps_the_session_and_notices_that_the_trigger_is_gone(
    bell_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.doorbell.SILENCE_S", 1)
    monkeypatch.setattr("relay.store.doorbell.BEAT_S", 0.2)
    async with a_hand(bell_db.url) as hand:
        await hand.taken()
        for _ in range(8):
            await hand.rings()
        assert (hand.bell.held, hand.told) == (True, [BellState.READY])
        assert await asyncio.to_thread(migrate.down, bell_db.url, only="doorbell") == ("1002_doorbell",)
        await eventually(lambda: hand.told == [BellState.READY, BellState.ABSENT])
        assert not hand.bell.held


async def test_without_a_doorbell_there_is_no_session(db: Database) -> None:
    async with a_hand(db.url) as hand:
        assert not await hand.bell.take(hand.rung.set)
        assert hand.bell._opening is not None
        await hand.bell._opening
        assert (hand.told, hand.bell._conn, await hand.bell.take(hand.rung.set)) == ([], None, False)


async def test_a_transaction_pooler_is_found_out(
    own_database: Callable[..., tuple[OwnPostgres, Database]], own_pgbouncer: Callable[..., PgBouncer]
) -> None:
    server, db = await asyncio.to_thread(own_database)
    pooler = await asyncio.to_thread(own_pgbouncer, server)
    await asyncio.to_thread(migrate.up, pooler.url(db.name), only="doorbell")
    async with a_hand(pooler.url(db.name)) as hand:
        assert not await hand.bell.take(hand.rung.set)
        await eventually(lambda: hand.told == [BellState.POOLED])
        assert not await hand.bell.take(hand.rung.set)
        assert (await holders(db), await db.insert()) == (0, [1])


async def test_producer_and_relay_need_no_right_beyond_their_roles(bell_db: Database) -> None:
    as_role = bell_db.url + ("&" if "?" in bell_db.url else "?") + "options=-c%20role%3Doutbox_"
    async with a_hand(as_role + "relay") as hand:
        await hand.taken()
        async with await psycopg.AsyncConnection.connect(as_role + "producer", autocommit=True) as producer:
            await producer.execute(INSERT)
            await hand.rings()


@pytest.mark.parametrize(("schema", "table"), [('we"ird', 'we"ird'), ("a;\nb", "c;\n-- %s {} '"), ("ü" * 31, "x" * 63)])
async def test_any_names_will_do(db: Database, schema: str, table: str) -> None:
    await asyncio.to_thread(migrate.down, db.url, to=0)
    await asyncio.to_thread(migrate.up, db.url, schema=schema, table=table, only="doorbell")
    other = Database(db.url, db.name, schema=schema, table=table)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(other.close)
        hand = await stack.enter_async_context(a_hand(db.url, schema=schema, table=table))
        store = await stack.enter_async_context(a_store(db.url, schema=schema, table=table))
        await hand.taken()
        found = await store.doorbell()
        assert found == Doorbell(found.table_id, installed=True, enabled=True, holder="relay-under-test")
        await other.fetch("INSERT INTO {table} (routing_key, payload) VALUES ('a', '{{}}')")
        await hand.rings()
        assert len((await claim(store)).rows) == 1
