"""The real relay with a doorbell: it hears producers, sleeps, and is woken by a signal."""

import asyncio
import re
import signal
import time
from collections.abc import Callable

import psycopg
import pytest

from relay import migrate
from services.find import OwnPostgres
from services.pgbouncer import PgBouncer
from tests.builders import Amqp, Database, eventually
from tests.running import RelayProcess, command, environment, relay

POLL_S = 30
PROMPT_S = 10.0
"""Far below the poll; a busy machine may take a while."""


@pytest.fixture
async def bell_db(db: Database) -> Database:
    """A database with a doorbell."""
    await asyncio.to_thread(migrate.up, db.url, only="doorbell")
    return db


async def metric(process: RelayProcess, name: str) -> float:
    """The value of a series."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", (await process.get("/metrics"))[1], re.MULTILINE)
    assert found, name
    return float(found[1])


async def asleep(process: RelayProcess) -> None:
    """Wait until it holds the bell."""
    await process.says("doorbell.ready")

    async def held() -> None:
        assert await metric(process, "relay_doorbell_held") == 1

    await eventually(held)


async def all_sent(db: Database, rows: int) -> None:
    """Wait until that many rows are sent, much sooner than a poll comes."""

    async def sent() -> None:
        assert await db.statuses() == {"sent": rows}

    await eventually(sent, PROMPT_S)


async def test_no_row_waits_for_the_poll_and_a_signal_ends_the_sleep_at_once(bell_db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    async with relay(bell_db, amqp, POLL_MAX_SECONDS=POLL_S) as process:
        await asleep(process)
        for number in range(1, 6):
            await bell_db.insert()
            await all_sent(bell_db, number)
        assert await metric(process, "relay_doorbell_rings_total") == 5
        assert await metric(process, 'relay_doorbell{state="ready"}') == 1
        told = (await command(environment(bell_db.url, amqp.url), "doorbell", "status"))[1]
        assert re.fullmatch(r"on: held by relay/\S+ test-relay\n", told), told
        began = time.monotonic()
        assert await process.stop() == 0
        assert time.monotonic() - began < PROMPT_S
    assert "nobody" in (await command(environment(bell_db.url, amqp.url), "doorbell", "status"))[1]


async def test_a_burst_of_many_producers_is_relayed_and_the_bell_taken_again(bell_db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    async with relay(bell_db, amqp, POLL_MAX_SECONDS=POLL_S) as process:
        await asleep(process)

        async def produce() -> None:
            async with await psycopg.AsyncConnection.connect(bell_db.url, autocommit=True) as connection:
                for _ in range(200):
                    await connection.execute("INSERT INTO outbox.message (routing_key, payload) VALUES ('a', '{}')")

        await asyncio.gather(*(produce() for _ in range(8)))
        await all_sent(bell_db, 1600)
        await asleep(process)
        await bell_db.insert()
        await all_sent(bell_db, 1601)


async def test_a_long_transaction_of_one_producer_does_not_stop_the_rows_of_others(
    bell_db: Database, amqp: Amqp
) -> None:
    await amqp.queue("all", "orders")
    async with await psycopg.AsyncConnection.connect(bell_db.url) as slow, relay(bell_db, amqp) as process:
        await slow.execute("INSERT INTO outbox.message (routing_key, payload) VALUES ('slow', '{}')")
        await process.says("doorbell.ready")
        for number in range(1, 4):
            await bell_db.insert()
            await all_sent(bell_db, number)
        assert await metric(process, "relay_doorbell_held") == 0
        await slow.commit()
        await all_sent(bell_db, 4)
        await asleep(process)


async def test_a_relay_that_is_stopped_with_the_bell_in_hand_stops_nobody(bell_db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    async with relay(bell_db, amqp, POLL_MAX_SECONDS=POLL_S, NAME="one") as one:
        await asleep(one)
        one.signal(signal.SIGSTOP)
        try:
            async with relay(bell_db, amqp, NAME="two") as two:
                await two.says("doorbell.ready")
                await bell_db.insert(n=3)
                await all_sent(bell_db, 3)
                assert await metric(two, "relay_doorbell_held") == 0
        finally:
            one.signal(signal.SIGCONT)
        await bell_db.insert()
        await all_sent(bell_db, 4)


@pytest.mark.timeout(180)
async def test_a_relay_outlives_a_crash_of_the_database_and_hears_again(
    own_database: Callable[..., tuple[OwnPostgres, Database]], amqp: Amqp
) -> None:
    server, db = await asyncio.to_thread(own_database)
    await asyncio.to_thread(migrate.up, db.url, only="doorbell")
    await amqp.queue("all", "orders")
    async with relay(db, amqp) as process:
        await asleep(process)
        await asyncio.to_thread(server.kill)
        await process.says("doorbell.lost")
        await asyncio.to_thread(server.start)
        await eventually(lambda: len(process.seen("doorbell.ready")) == 2, 60)
        await asleep(process)
        rows = await db.insert()
        await all_sent(db, len(rows))


async def test_behind_a_pooler_a_relay_says_so_once_and_polls(
    own_database: Callable[..., tuple[OwnPostgres, Database]], own_pgbouncer: Callable[..., PgBouncer], amqp: Amqp
) -> None:
    server, db = await asyncio.to_thread(own_database)
    pooler = await asyncio.to_thread(own_pgbouncer, server)
    await asyncio.to_thread(migrate.up, db.url, only="doorbell")
    await amqp.queue("all", "orders")
    pooled = Database(pooler.url(db.name), db.name)
    async with relay(pooled, amqp) as process:
        await process.says("doorbell.pooled", level="warning")
        await db.insert(n=2)
        await all_sent(db, 2)
        assert await metric(process, 'relay_doorbell{state="pooled"}') == 1
        assert len(process.seen("doorbell.pooled")) == 1
    env = environment(pooled.url, amqp.url)
    assert "! doorbell       a pooler stands before the database" in (await command(env, "check"))[1]
    assert "not to be heard from here" in (await command(env, "doorbell", "status"))[1]
