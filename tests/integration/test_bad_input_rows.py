"""Rows that cannot be sent, in one table with rows that can: each is blamed in words, and the others arrive."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from secrets import token_hex
from typing import Any

import aio_pika
import pytest
from psycopg import sql

from services import find
from services.broker import Broker
from tests.builders import Amqp, Database, eventually, message_ids
from tests.running import relay

BODY_MAX, OUR_BODY_MAX = 200_000, 400_000
SECRET = "do-not-tell"
QUICK = {"RETRY_BASE_SECONDS": 0.05, "RETRY_MAX_SECONDS": 0.2, "RESCAN_SECONDS": 0.2, "MAX_FAILURES": 2}


@pytest.fixture(scope="module")
def small_broker() -> Iterator[Broker]:
    """A broker that refuses bodies the relay would let pass."""
    broker = find.own_rabbitmq(config=[f"max_message_size = {BODY_MAX}"])
    yield broker
    broker.close()


@pytest.fixture
async def narrow(small_broker: Broker) -> AsyncIterator[Amqp]:
    """A vhost in which the relay's user may write to some exchanges only; its queue takes `order.#`."""
    vhost = await asyncio.to_thread(small_broker.add_vhost, f"relay-test-{token_hex(4)}")
    await asyncio.to_thread(
        lambda: small_broker.add_user(
            "relay", SECRET, vhost=vhost, configure="", write="^(orders|inner|amq.default)$", read=""
        )
    )
    admin = Amqp(small_broker.url(vhost), vhost)
    await admin.queue("all", "orders", routing_key="order.#")
    await admin.exchange("private")
    channel = await admin.channel()
    await channel.declare_exchange("inner", aio_pika.ExchangeType.TOPIC, internal=True)
    admin.url = small_broker.url(vhost, "relay", SECRET)
    yield admin
    await admin.close(remove=False)
    await asyncio.to_thread(small_broker.delete_vhost, vhost)


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = SECRET
    for _ in range(depth):
        value = [value]
    return value


# Each with the beginning of its error text, and how often it is tried: what no later attempt can change, once.
BAD: tuple[tuple[dict[str, Any], str, int], ...] = (
    ({"routing_key": "nobody.listens"}, "unroutable: no queue took it: 312 NO_ROUTE", 2),
    ({"exchange": "nowhere"}, "no_exchange: 404 NOT_FOUND - no exchange 'nowhere'", 2),
    ({"exchange": "private"}, "forbidden: 403 ACCESS_REFUSED - ", 2),
    ({"exchange": "inner"}, "forbidden: 403 ACCESS_REFUSED - cannot publish to internal exchange 'inner'", 2),
    ({"exchange": "x" * 300}, "invalid: exchange of 300 bytes > 255", 1),
    ({"payload": {"a": "x" * OUR_BODY_MAX}}, f"too_large: payload of {OUR_BODY_MAX + 9} bytes > RELAY_MAX_MES", 1),
    ({"payload": {"a": "x" * BODY_MAX}}, "blamed: 406 PRECONDITION_FAILED - message size", 2),
    ({"headers": {"large": "x" * 140_000}}, "invalid: headers and properties of 140", 1),
    ({"headers": {"half": 0.5}}, "invalid: header half holds a fractional number", 1),
    ({"headers": {"wide": 2**69}}, "invalid: header wide holds an integer over 64 bits", 1),
    ({"headers": {"n" * 200: 1}}, "invalid: header name of 200 bytes", 1),
    ({"headers": {"": 1}}, "invalid: header name of 0 bytes", 1),
    ({"headers": {"CC": "order.copy"}}, "invalid: header CC must be a list of strings", 1),
    ({"headers": {"x-outbox-id": 7}}, "invalid: header x-outbox-id is set by the relay", 1),
    ({"headers": {"deep": nested(30)}}, "invalid: header deep is nested deeper than 16", 1),
    ({"headers": [1]}, "invalid: headers must be a JSON object", 1),
    ({"headers": '{"torn": "\\ud800"}'}, "invalid: header torn holds half of a surrogate pair", 1),
    ({"properties": '{"n\\u0000l": 1}'}, "invalid: property n\N{REPLACEMENT CHARACTER}l is unknown", 1),
    ({"properties": {"user_id": "guest"}}, "invalid: property user_id is unknown", 1),
    ({"properties": {"expiration": "soon"}}, "invalid: property expiration must be whole milliseconds", 1),
    ({"routing_key": "order." + "x" * 294}, "invalid: routing_key of 300 bytes > 255", 1),
    ({"routing_key": "ö" * 128}, "invalid: routing_key of 256 bytes > 255", 1),
    ({"content_type": "x" * 256}, "invalid: content_type of 256 bytes > 255", 1),
)


async def test_every_bad_row_is_blamed_in_words_and_its_neighbours_arrive(db: Database, narrow: Amqp) -> None:
    for column in ("headers", "properties"):  # json keeps what jsonb would refuse
        await db.fetch(sql.SQL("ALTER TABLE outbox.message ALTER {} TYPE json").format(sql.Identifier(column)))
    bad: dict[int, tuple[str, int]] = {}
    good: list[int] = []
    for columns, error, failures in BAD:
        good += await db.insert(n=10, routing_key="order.created", payload={"card": SECRET})
        [row_id] = await db.insert(**({"routing_key": "order.created"} | columns))
        bad[row_id] = (error, failures)
    good += await db.insert(n=10, routing_key="order.created")
    async with relay(db, narrow, MAX_MESSAGE_BYTES=OUR_BODY_MAX, BATCH_SIZE=60, **QUICK) as process:

        async def settled() -> None:
            assert await db.statuses() == {"sent": len(good), "failed": len(bad)}

        await eventually(settled, 45)
        assert await process.stop() == 0
        log = "".join(process.lines) + process.stderr
    rows = await db.fetch("SELECT id, last_error, failures FROM {table} WHERE status = 'failed' ORDER BY id")
    found = {row_id: (text[: len(bad[row_id][0])], failures) for row_id, text, failures in rows}
    assert found == bad
    ids = {row_id: message_id for row_id, message_id in await db.fetch("SELECT id, message_id FROM {table}")}  # noqa: C416
    arrived = Counter(message_ids(await narrow.drain("all", len(good))))
    assert arrived.keys() == {ids[row_id] for row_id in good}
    told: Counter[str] = Counter()
    for line in process.seen("rows.failed"):
        told.update(line["reasons"])
    assert told == Counter(error.partition(":")[0] for error, _ in bad.values())
    examples = [text for line in process.seen("tick") for text in line.get("examples", {}).values()]
    assert any(text.endswith(f"404 NOT_FOUND - no exchange 'nowhere' in vhost '{narrow.vhost}'") for text in examples)
    assert not process.seen("outage.began")
    assert SECRET not in log
    assert SECRET not in json.dumps([row[1] for row in rows])


async def test_of_two_rows_with_one_message_id_only_the_unroutable_one_fails(db: Database, narrow: Amqp) -> None:
    one = "6f1c2a44-95b3-4a7e-9f5c-0d0a3a1b2c3d"
    for routing_key in ("order.a", "stray", "order.b", "stray"):
        await db.insert(routing_key=routing_key, message_id=one, payload={"key": routing_key})
    async with relay(db, narrow, **QUICK) as process:

        async def settled() -> None:
            assert await db.fetch("SELECT id, status FROM {table} ORDER BY id") == [
                *((1, "sent"), (2, "failed"), (3, "sent"), (4, "failed"))
            ]

        await eventually(settled, 20)
        assert await process.stop() == 0
    messages = await narrow.drain("all", 2)
    assert sorted(str(message.routing_key) for message in messages) == ["order.a", "order.b"]


async def test_rows_for_a_missing_exchange_go_out_once_it_is_declared(db: Database, narrow: Amqp) -> None:
    [late] = await db.insert(exchange="orders.v2", routing_key="order.a")
    [good] = await db.insert(routing_key="order.a")
    settings: dict[str, object] = {**QUICK, "MAX_FAILURES": 1000}
    admin = Amqp(narrow.url.replace(f"relay:{SECRET}", "guest:guest"), narrow.vhost)
    async with relay(db, admin, **settings):

        async def refused() -> None:
            rows = await db.fetch("SELECT id, status, failures > 0, last_error FROM {table} ORDER BY id")
            assert rows[0][:3] == (late, "pending", True)
            assert "no exchange 'orders.v2'" in rows[0][3]
            assert rows[1] == (good, "sent", False, None)

        await eventually(refused, 20)
        await narrow.queue("late", "orders.v2")
        # The first one believes for half a minute what it was told; another one asks anew.
        async with relay(db, admin, **settings):

            async def sent() -> None:
                assert await db.statuses() == {"sent": 2}

            await eventually(sent, 20)
    assert await narrow.count("late") == 1
