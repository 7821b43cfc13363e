"""Real relays through one fault each, judged as a run of chaos is: whatever breaks a promise must fail here."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import sql

from relay.model import Refusal, Retry
from services.broker import Broker
from services.find import OwnPostgres, OwnRabbitMQ
from services.postgres import Postgres
from services.proxy import Proxy
from tests.builders import Amqp, Database, eventually
from tests.histories import EXCHANGE, IN_FLIGHT_MAX, QUEUE, Witness, settled
from tests.running import environment, relay, start
from tests.stores import SLOW_WAL, a_store, claim, ids

OwnDatabase = Callable[..., tuple[OwnPostgres, Database]]
OwnBroker = Callable[..., OwnRabbitMQ]
QUICK = {"RETRY_BASE_SECONDS": 0.1, "RETRY_MAX_SECONDS": 0.5, "RESCAN_SECONDS": 0.2}
pytestmark = pytest.mark.timeout(180)


async def arrived(amqp: Amqp, count: int) -> None:
    """Wait until so many messages are in the queue."""

    async def there() -> None:
        assert await amqp.count(QUEUE) >= count

    await eventually(there, 20)


async def in_hand(db: Database, count: int) -> None:
    """Wait until so many rows are claimed, or were."""

    async def taken() -> None:
        found = await db.fetch("SELECT count(*) FROM {table} WHERE claims > 0")
        assert found[0][0] >= count

    await eventually(taken, 20)


async def warm_up(witness: Witness, db: Database, amqp: Amqp) -> None:
    """Let the one lane open its channel, which it could not when the way is closed."""
    await witness.commit(db, 1)
    await arrived(amqp, 1)
    await settled(db)


async def all_tried(db: Database) -> bool:
    """Whether every row has had an answer."""
    return await db.fetch("SELECT id FROM {table} WHERE status = 'pending' AND failures = 0") == []


@pytest.fixture
async def between(rabbitmq: Broker, amqp: Amqp, proxy: Any) -> Proxy:
    """Stands between the relay and its broker, which has the queue."""
    await amqp.queue(QUEUE, EXCHANGE)
    made: Proxy = await proxy(rabbitmq.host, rabbitmq.amqp_port)
    return made


def through(between: Proxy, amqp: Amqp) -> Amqp:
    """The broker as the relay sees it."""
    return Amqp(between.url(amqp.url), amqp.vhost)


async def test_a_broker_that_crashes_loses_nothing_that_it_confirmed(db: Database, own_rabbitmq: OwnBroker) -> None:
    witness, broker = Witness(), await asyncio.to_thread(own_rabbitmq)
    amqp = Amqp(broker.url(), "/")
    await amqp.queue(QUEUE, EXCHANGE)
    await witness.commit(db, 500)
    async with relay(db, amqp, "--drain") as process:
        assert await process.ended() == 0
    async with witness.fault("broker crash"):
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
    assert await witness.problems(db, amqp) == ()
    await amqp.close(remove=False)


async def test_what_no_queue_takes_waits_until_one_does(db: Database, amqp: Amqp) -> None:
    witness = Witness()
    await amqp.exchange(EXCHANGE)
    await amqp.queue(QUEUE)
    async with relay(db, amqp, MAX_FAILURES=1000, **QUICK):
        async with witness.fault("queue unbound", refusals=("unroutable",)):
            await witness.commit(db, 50)
            await eventually(lambda: all_tried(db), 20)
            await amqp.queue(QUEUE, EXCHANGE)
        assert await witness.problems(db, amqp) == ()


async def test_what_a_broken_connection_swallows_is_sent_again(db: Database, amqp: Amqp, between: Proxy) -> None:
    witness = Witness()
    async with relay(db, through(between, amqp), LANES=1):
        await warm_up(witness, db, amqp)
        async with witness.fault("cut on the way to the broker", repeats_max=IN_FLIGHT_MAX):
            between.hold("up")
            await witness.commit(db, 200)
            await in_hand(db, 201)
            between.reset_all()
            await between.pass_all()
        assert await witness.problems(db, amqp) == ()


async def test_an_outage_costs_no_row_an_attempt(db: Database, amqp: Amqp, between: Proxy) -> None:
    witness = Witness()
    async with relay(db, through(between, amqp), LANES=1, MAX_FAILURES=2, **QUICK) as process:
        await warm_up(witness, db, amqp)
        async with witness.fault("cut on the way back, and refused", repeats_max=IN_FLIGHT_MAX):
            between.hold("down")
            await witness.commit(db, 50)
            await arrived(amqp, 51)
            await between.refuse()
            between.reset_all()
            await process.says("outage.began", side="broker")
            await between.pass_all()
        assert await witness.problems(db, amqp) == ()


async def test_a_row_that_closes_the_channel_harms_no_neighbour(db: Database, amqp: Amqp) -> None:
    """Its exchange is deleted while the relay still believes in it."""
    witness = Witness()
    await amqp.queue(QUEUE, EXCHANGE)
    await amqp.queue("other", "short-lived")
    async with relay(db, amqp, MAX_FAILURES=1, LANES=1) as process:
        await db.insert(exchange="short-lived")
        await process.says("tick")
        await db.fetch("DELETE FROM {table}")
        await (await amqp.channel()).exchange_delete("short-lived")
        async with witness.fault("channel closed", repeats_max=IN_FLIGHT_MAX):
            await db.fetch("BEGIN")  # so that one claim takes them all
            await witness.commit(db, 20)
            await witness.commit(db, 1, exchange="short-lived", refusal="no_exchange")
            await witness.commit(db, 20)
            await db.fetch("COMMIT")
            await settled(db)
        assert await witness.problems(db, amqp) == ()
    assert await db.statuses() == {"sent": 40, "failed": 1}


async def test_one_lane_sends_its_rows_in_order_of_id(db: Database, amqp: Amqp) -> None:
    """Also those that were refused before, with a plan that finds them last."""
    witness = Witness(ordered=True)
    await amqp.queue(QUEUE, EXCHANGE)
    for name in ("nestloop", "mergejoin"):
        setting = sql.SQL("ALTER DATABASE {} SET {} = off")
        await db.fetch(setting.format(sql.Identifier(db.name), sql.Identifier(f"enable_{name}")))
    async with witness.fault("refused once", refusals=("rejected",)):
        await witness.commit(db, 100)
        async with a_store(db.url) as store:
            taken = await claim(store, limit=3)
            marks = [Retry(row_id, Refusal.REJECTED, 0.0, "rejected: x") for row_id in ids(taken)]
            await store.settle(taken.token, marks)
    async with relay(db, amqp, "--drain", LANES=1) as process:
        assert await process.ended() == 0
    assert await witness.problems(db, amqp) == ()


async def test_a_sigterm_repeats_nothing_that_is_in_flight(db: Database, amqp: Amqp, between: Proxy) -> None:
    witness = Witness()
    process = await start(environment(db.url, between.url(amqp.url), {"LANES": 1}))
    try:
        await warm_up(witness, db, amqp)
        between.hold("down")
        await witness.commit(db, 200)
        await arrived(amqp, 201)
        process.signal(signal.SIGTERM)
        await process.says("relay.stopping")
        await between.pass_all()
        assert await process.ended() == 0
    finally:
        await process.close()
    async with relay(db, amqp, "--drain") as process:
        assert await process.ended() == 0
    assert await witness.problems(db, amqp) == ()


async def test_nothing_is_sent_that_a_crash_of_postgres_erases(
    amqp: Amqp, between: Proxy, own_database: OwnDatabase
) -> None:
    """The producer does not wait for the disk, and nothing goes there unless the relay sees to it."""
    witness = Witness()
    server, db = await asyncio.to_thread(lambda: own_database(durable=True, settings=SLOW_WAL))
    async with relay(db, through(between, amqp), LANES=1):
        await warm_up(witness, db, amqp)
        async with witness.fault("postgres crash", repeats_max=IN_FLIGHT_MAX):
            between.hold("down")
            [(writer,)] = await db.fetch("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
            if isinstance(server, Postgres):  # elsewhere its ids are not ours to signal
                os.kill(writer, signal.SIGSTOP)
            at = time.time()
            await db.fetch("SET synchronous_commit = off")
            insert = "INSERT INTO {table} (routing_key, payload) VALUES ('order.created', '{{}}')"
            rows = await db.fetch(insert + " RETURNING id, message_id::text, payload::text")
            witness.saw(rows, at)
            await arrived(amqp, 2)
            await asyncio.to_thread(server.kill)
            await db.close()
            await between.pass_all()
            await asyncio.to_thread(server.start)
            # What is leased to nobody's hand need not be waited for.
            await db.fetch("UPDATE {table} SET claimed_until = now() WHERE status = 'pending'")
        assert await witness.problems(db, amqp) == ()
