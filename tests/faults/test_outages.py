"""The daemon through outages made for real: nothing lost, no row charged, and it recovers by itself."""

import asyncio
import signal
from collections.abc import Callable

from services.find import OwnPostgres, OwnRabbitMQ
from tests.builders import Amqp, Database, eventually, message_ids
from tests.running import environment, relay, start

OwnDatabase = Callable[..., tuple[OwnPostgres, Database]]
OwnBroker = Callable[..., OwnRabbitMQ]


async def all_sent(db: Database, rows: int) -> None:
    """Wait until that many rows are sent, none of them ever charged."""

    async def sent() -> None:
        found = await db.fetch("SELECT status, count(*), sum(failures)::int FROM {table} GROUP BY status")
        assert found == [("sent", rows, 0)]

    await eventually(sent, 45)


async def test_it_starts_without_a_broker_and_touches_no_row_until_it_comes(
    db: Database, own_rabbitmq: OwnBroker
) -> None:
    broker = own_rabbitmq()
    amqp = Amqp(broker.url(), "/")
    await amqp.queue("all", "orders")
    await amqp.close(remove=False)
    broker.stop()
    await db.insert(n=20)
    async with relay(db, amqp) as process:
        await process.says("outage.began", side="broker", reason="refused")

        async def ready() -> None:
            assert (await process.get("/readyz"))[0] == 200

        await eventually(ready)
        assert (await process.status())["broker"]["state"] in {"outage", "probing"}
        assert 'relay_outage{side="broker"} 1.0' in (await process.get("/metrics"))[1]
        assert await db.fetch("SELECT DISTINCT claims, claimed_until FROM {table}") == [(0, None)]
        broker.start()
        await all_sent(db, 20)
        await process.says("outage.ended", side="broker")
        assert await process.stop() == 0
    assert len(await amqp.drain("all", 20)) == 20
    await amqp.close(remove=False)


async def test_it_starts_without_a_database_and_is_not_ready_until_it_comes(
    amqp: Amqp, own_database: OwnDatabase
) -> None:
    server, db = own_database()
    await amqp.queue("all", "orders")
    await db.insert(n=20)
    await db.close()
    server.stop()
    async with relay(db, amqp) as process:
        await process.says("outage.began", side="database")
        status, text = await process.get("/readyz")
        assert status == 503
        assert "database" in text
        assert (await process.get("/livez"))[0] == 200
        server.start()
        await all_sent(db, 20)
        assert (await process.get("/readyz"))[0] == 200
        assert await process.stop() == 0
    await db.close()


async def test_a_broker_killed_under_load_costs_no_attempt_and_loses_nothing(
    db: Database, own_rabbitmq: OwnBroker
) -> None:
    broker = own_rabbitmq()
    amqp = Amqp(broker.url(), "/")
    await amqp.queue("all", "orders")
    await asyncio.to_thread(broker.remember)
    await db.insert(n=5000)
    async with relay(db, amqp) as process:
        await process.says("tick")
        await asyncio.to_thread(broker.kill)
        await process.says("outage.began", side="broker")
        await asyncio.to_thread(broker.start)
        await all_sent(db, 5000)
        assert await process.stop() == 0
    arrived = message_ids(await amqp.drain("all", 5000, 20))
    assert len(set(arrived)) == 5000
    assert len(arrived) - 5000 <= 2 * 500
    await amqp.close(remove=False)


async def test_a_database_crash_under_load_loses_nothing(amqp: Amqp, own_database: OwnDatabase) -> None:
    server, db = own_database(durable=True)
    await amqp.queue("all", "orders")
    await db.insert(n=5000)
    await db.close()
    async with relay(db, amqp) as process:
        await process.says("tick")
        await asyncio.to_thread(server.kill)
        await process.says("outage.began", side="database")
        await asyncio.to_thread(server.start)
        await eventually(lambda: process.seen("outage.ended", side="database") != [], 20)
        await all_sent(db, 5000)
        assert await process.stop() == 0
    arrived = message_ids(await amqp.drain("all", 5000, 20))
    assert len(set(arrived)) == 5000
    assert len(arrived) - 5000 <= 2 * 500
    await db.close()


async def test_a_killed_relay_leaves_its_rows_to_the_next_after_the_lease(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    await db.insert(n=5000)
    settings = {"LEASE_SECONDS": 21, "CONFIRM_TIMEOUT_SECONDS": 1, "SHUTDOWN_GRACE_SECONDS": 5}
    process = await start(environment(db.url, amqp.url, settings))
    await process.says("tick")
    process.signal(signal.SIGKILL)
    await process.ended()
    async with relay(db, amqp, **settings):
        await all_sent(db, 5000)
    arrived = message_ids(await amqp.drain("all", 5000, 20))
    assert len(set(arrived)) == 5000
    assert len(arrived) - 5000 <= 2 * 500


async def test_an_alarm_stops_claims_at_once_and_the_rows_go_out_after_it(
    db: Database, own_rabbitmq: OwnBroker
) -> None:
    broker = own_rabbitmq()
    amqp = Amqp(broker.url(), "/")
    await amqp.queue("all", "orders")
    async with relay(db, amqp) as process:
        await db.insert(n=5)
        await all_sent(db, 5)
        await asyncio.to_thread(broker.alarm, on=True)
        await db.insert(n=500)
        await process.says("outage.began", side="broker", reason="blocked")
        assert "relay_broker_blocked 1.0" in (await process.get("/metrics"))[1]
        await asyncio.to_thread(broker.alarm, on=False)
        await all_sent(db, 505)
        assert await process.stop() == 0
    assert len(set(message_ids(await amqp.drain("all", 505, 20)))) == 505
    await amqp.close(remove=False)


async def test_a_second_signal_ends_it_now_with_rows_given_back(db: Database, own_rabbitmq: OwnBroker) -> None:
    broker = own_rabbitmq()
    amqp = Amqp(broker.url(), "/")
    await amqp.queue("all", "orders")
    async with relay(db, amqp) as process:
        await db.insert(n=5)
        await all_sent(db, 5)
        await asyncio.to_thread(broker.pause)
        try:
            await db.insert(n=50)

            async def claimed() -> None:
                assert await db.fetch("SELECT count(*) > 0 FROM {table} WHERE claims > 0 AND status = 'pending'") == [
                    (True,)
                ]

            await eventually(claimed)
            process.signal(signal.SIGTERM)
            await process.says("relay.stopping")
            process.signal(signal.SIGTERM)
            assert await process.ended(10) == 1
        finally:
            broker.resume()
    held = await db.fetch(
        "SELECT count(*) FROM {table} WHERE status = 'pending' AND (claims > 0 OR claimed_until > now())"
    )
    assert held == [(0,)]
    assert process.seen("relay.hurried")


async def test_sigterm_ends_an_outage_at_once(db: Database, own_rabbitmq: OwnBroker) -> None:
    broker = own_rabbitmq()
    url = broker.url()
    broker.stop()
    async with relay(db, Amqp(url, "/"), OUTAGE_SLEEP_SECONDS=30) as process:
        await process.says("outage.began", side="broker")
        process.signal(signal.SIGTERM)
        assert await process.ended(5) == 0
