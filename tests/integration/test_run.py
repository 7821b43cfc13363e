"""The daemon as a team runs it: the real command between a real database and a real broker."""

import json
import signal
from datetime import UTC, datetime, timedelta

import pytest

from tests.builders import Amqp, Database, eventually, message_ids, payloads
from tests.running import environment, relay, start


async def all_sent(db: Database, rows: int) -> None:
    """Wait until that many rows are sent and none is left."""

    async def sent() -> None:
        assert await db.statuses() == {"sent": rows}

    await eventually(sent, 20)


async def test_a_committed_row_arrives_whole_and_is_marked_sent(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    await amqp.queue("other", "audit")
    await db.insert(
        routing_key="order.paid",
        payload={"total": 12.50, "note": "größer"},
        headers={"tenant": "blue", "n": 7, "flags": [True, None]},
        properties={"type": "OrderPaid", "correlation_id": "c-1", "priority": 3, "expiration": 60000},
    )
    await db.insert(exchange="audit", payload={"n": 2})
    async with relay(db, amqp) as process:
        await all_sent(db, 2)
        [message] = await amqp.drain("all", 1)
        [other] = await amqp.drain("other", 1)
        assert await process.stop() == 0
    [(message_id, created_at, payload)] = await db.fetch(
        "SELECT message_id, created_at, payload::text FROM {table} WHERE id = 1"
    )
    assert message.body == payload.encode()
    assert str(message.message_id) == str(message_id)
    assert message.routing_key == "order.paid"
    assert (message.type, message.correlation_id, message.priority) == ("OrderPaid", "c-1", 3)
    assert message.expiration == 60.0
    assert message.delivery_mode == 2
    assert message.content_type == "application/json"
    assert message.timestamp == created_at.replace(microsecond=0)
    assert message.headers == {"tenant": "blue", "n": 7, "flags": [True, None], "x-outbox-id": 1}
    assert payloads([other]) == [{"n": 2}]


async def test_a_rolled_back_row_is_never_published(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    connection = await db.connect()
    async with relay(db, amqp):
        async with connection.transaction(force_rollback=True):
            await connection.execute("INSERT INTO outbox.message (routing_key, payload) VALUES ('a', '1')")
        await db.insert(payload={"kept": True})
        await all_sent(db, 1)
    assert payloads(await amqp.drain("all", 1)) == [{"kept": True}]


async def test_a_row_is_not_published_before_its_time(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    later = datetime.now(UTC) + timedelta(hours=1)
    await db.insert(available_at=later)
    await db.insert()
    async with relay(db, amqp, "--drain") as process:
        assert await process.ended() == 0
    assert await db.statuses() == {"pending": 1, "sent": 1}
    assert await amqp.count("all") == 1


@pytest.mark.parametrize("column_type", ["jsonb", "json", "text", "bytea"])
async def test_the_payload_is_sent_byte_for_byte(db: Database, amqp: Amqp, column_type: str) -> None:
    await amqp.queue("all", "orders")
    spelled = '{"b": 1,  "a": 12345678901234567890.123456789, "a": "\\u00e9"}'
    using = "convert_to(payload::text, 'UTF8')" if column_type == "bytea" else f"payload::{column_type}"
    connection = await db.connect()
    await connection.execute(f"ALTER TABLE outbox.message ALTER payload TYPE {column_type} USING {using}")
    body = b"\x00\xff" + spelled.encode() if column_type == "bytea" else spelled
    await connection.execute("INSERT INTO outbox.message (routing_key, payload) VALUES ('a', %s)", (body,))
    async with relay(db, amqp, "--drain") as process:
        assert await process.ended() == 0
    [message] = await amqp.drain("all", 1)
    stored = {
        "jsonb": '{"a": "é", "b": 1}'.encode(),  # jsonb itself keeps the last of two keys and sorts them
        "json": spelled.encode(),
        "text": spelled.encode(),
        "bytea": b"\x00\xff" + spelled.encode(),
    }
    assert message.body == stored[column_type]


@pytest.mark.parametrize("after", [1, 400, 1500, 3500])
async def test_sigterm_under_load_duplicates_nothing_and_holds_nothing(db: Database, amqp: Amqp, after: int) -> None:
    await amqp.queue("all", "orders")
    await db.insert(n=5000)
    env = environment(db.url, amqp.url, {"BATCH_SIZE": 100})
    process = await start(env)
    try:

        async def some_arrived() -> None:
            assert await amqp.count("all") >= after

        await eventually(some_arrived, 20)
        assert await process.stop() == 0
        held = await db.fetch(
            "SELECT count(*) FROM {table} WHERE status = 'pending' AND (claims > 0 OR claimed_until > now())"
        )
        assert held == [(0,)]
        assert process.seen("relay.stopped")
    finally:
        await process.close()
    process = await start(env, "--drain")
    assert await process.ended() == 0
    arrived = message_ids(await amqp.drain("all", 5000, 20))
    assert len(arrived) == len(set(arrived)) == 5000


async def test_two_relays_share_the_rows_and_repeat_none(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    async with relay(db, amqp, BATCH_SIZE=50) as one, relay(db, amqp, BATCH_SIZE=50) as two:
        await one.says("relay.started")
        await two.says("relay.started")
        await db.insert(n=4000)
        await all_sent(db, 4000)
        assert one.seen("tick")
        assert two.seen("tick")
    arrived = message_ids(await amqp.drain("all", 4000, 20))
    assert len(arrived) == len(set(arrived)) == 4000


async def test_one_bad_row_never_harms_its_neighbours(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    await db.insert(n=100)
    [bad] = await db.insert(exchange="nowhere")
    [wide] = await db.insert(routing_key="x" * 300)
    [half] = await db.insert(headers={"ratio": 0.1})
    await db.insert(n=100)
    async with relay(db, amqp, MAX_FAILURES=1) as process:

        async def settled() -> None:
            assert await db.statuses() == {"sent": 200, "failed": 3}

        await eventually(settled, 20)
        assert await process.stop() == 0
    rows = await db.fetch("SELECT id, failures, last_error FROM {table} WHERE status = 'failed' ORDER BY id")
    assert [(row[0], row[1]) for row in rows] == [(bad, 1), (wide, 1), (half, 1)]
    assert rows[0][2].startswith("no_exchange: 404")
    assert rows[1][2] == "invalid: routing_key of 300 bytes > 255"
    assert rows[2][2].startswith("invalid: header ratio holds a fractional number")
    assert len(await amqp.drain("all", 200)) == 200


async def test_an_unroutable_row_is_retried_and_sent_once_a_queue_is_there(db: Database, amqp: Amqp) -> None:
    await amqp.exchange("orders")
    [row_id] = await db.insert()
    async with relay(db, amqp, RETRY_BASE_SECONDS=0.05, RETRY_MAX_SECONDS=0.2, RESCAN_SECONDS=0.1, MAX_FAILURES=1000):

        async def refused() -> None:
            [(failures, error)] = await db.fetch("SELECT failures, last_error FROM {table} WHERE id = %s", (row_id,))
            assert failures >= 2
            assert error.startswith("unroutable: ")

        await eventually(refused)
        await amqp.queue("all", "orders")
        await all_sent(db, 1)
    [message] = await amqp.drain("all", 1)
    assert int(str(message.headers["x-outbox-attempt"])) > 2


async def test_nothing_secret_reaches_the_log_even_at_debug(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    await db.insert(payload={"card": "4111-1111"}, headers={"token": "tell-nobody"}, n=3)
    await db.insert(payload={"card": "4111-1111"}, exchange="nowhere")
    async with relay(db, amqp, LOG_LEVEL="debug", MAX_FAILURES=1) as process:

        async def settled() -> None:
            assert await db.statuses() == {"sent": 3, "failed": 1}

        await eventually(settled)
        await process.get("/status")
        assert await process.stop() == 0
    text = "".join(process.lines) + process.stderr
    for secret in ("4111-1111", "tell-nobody", "guest:guest", "password"):
        assert secret not in text
    assert process.seen("tick")


async def test_the_pages_tell_the_truth(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    await db.insert(n=10)
    await db.insert(available_at=datetime.now(UTC) + timedelta(hours=1), n=3)
    async with relay(db, amqp, BACKLOG_SAMPLE_SECONDS=1) as process:

        async def told() -> None:
            text = (await process.get("/metrics"))[1]
            assert 'relay_messages_total{outcome="confirmed"} 10.0' in text
            assert 'relay_outbox_rows{state="pending"} 3.0' in text

        await eventually(told)
        assert [(await process.get(path))[0] for path in ("/livez", "/readyz", "/health", "/ready")] == [200] * 4
        status = await process.status()
        assert status["backlog"]["pending"] == 3
        assert status["broker"]["state"] == status["database"]["state"] == "flowing"
        assert json.dumps(status).count("guest") == 1, "the user of the masked URL, and not the password"


async def test_a_taken_port_does_not_stop_the_relay(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    async with relay(db, amqp) as first, relay(db, amqp, HTTP_PORT=await first.port()) as second:
        await second.says("web.failed")
        first.signal(signal.SIGTERM)
        assert await first.ended() == 0
        await db.insert(n=5)
        await all_sent(db, 5)
