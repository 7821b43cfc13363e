"""What the machine can do at most: each server alone, driven by the relay's own parts."""

import asyncio
import time
from collections import deque
from contextlib import aclosing
from uuid import uuid4

from bench.meter import Broken
from bench.stage import DATABASE, EXCHANGE, Stage
from relay.broker.classify import Loss
from relay.broker.connection import BrokerConfig, connect
from relay.broker.flight import fly
from relay.broker.link import Link
from relay.broker.wire import encode
from relay.envelope import ID_HEADER
from relay.model import Confirmed, Envelope, Refused, Sent
from relay.store import PostgresStore, StoreConfig

BATCH = 500
LANES = 2
GOODBYE_S = 3.0


async def broker_rate(stage: Stage, rows: int, body_bytes: int) -> float:
    """Return messages a second of the broker fed frames that were encoded before the clock ran."""
    await stage.empty_queue()
    url = stage.rabbitmq.url()
    link = await connect(BrokerConfig(url=lambda: url, name="bench"))
    if isinstance(link, Loss):
        raise Broken(f"no connection to the broker: {link.detail}")
    try:
        return await _fed(link, rows, b"x" * body_bytes)
    finally:
        await link.close(GOODBYE_S)


async def _fed(link: Link, rows: int, body: bytes) -> float:
    channel = await link.channel()
    if isinstance(channel, Loss):
        raise Broken(f"no channel: {channel.detail}")
    messages = deque((n, _frames(n, body, channel.number, link.frame_max)) for n in range(1, rows + 1))
    confirmed = 0
    began = time.monotonic()
    async with aclosing(fly(link, channel, messages, confirm_timeout_s=30.0)) as flight:
        async for answers in flight:
            confirmed += sum(isinstance(answer.outcome, Confirmed) for answer in answers)
    if confirmed != rows:
        raise Broken(f"the broker confirmed {confirmed} of {rows}")
    return rows / (time.monotonic() - began)


def _frames(number: int, body: bytes, channel: int, frame_max: int) -> bytes:
    envelope = Envelope(
        row_id=number,
        message_id=str(uuid4()),
        exchange=EXCHANGE,
        routing_key="order.placed",
        body=body,
        content_type="application/json",
        created_at=time.time(),
        headers={ID_HEADER: number},
    )
    frames = encode(envelope, channel, frame_max)
    if isinstance(frames, Refused):
        raise Broken(frames.detail)
    return frames


async def database_rate(stage: Stage, rows: int) -> float:
    """Return rows a second of claims and marks, on as many lanes as the relay has, without a broker between."""
    stage.fill(rows)
    url = stage.postgres.url(DATABASE)
    store = PostgresStore(StoreConfig(conninfo=lambda: url, application_name="bench"))
    await store.open()
    try:
        began = time.monotonic()
        claimed = await asyncio.gather(*(_lane(store) for _ in range(LANES)))
        seconds = time.monotonic() - began
    finally:
        await store.close()
    if sum(claimed) != rows:
        raise Broken(f"{sum(claimed)} of {rows} rows were claimed")
    return rows / seconds


async def _lane(store: PostgresStore) -> int:
    low = claimed = 0
    while rows := (claim := await store.claim(limit=BATCH, low=low)).rows:
        await store.settle(claim.token, [Sent(row.id, row.message_id) for row in rows])
        low, claimed = rows[-1].id, claimed + len(rows)
    return claimed
