"""What the machine can do at most: each server alone, driven by the relay's own parts."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from uuid import uuid4

from bench import table
from bench.meter import Broken
from bench.stage import DATABASE, EXCHANGE, Stage
from relay.broker.channel import ConfirmChannel
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
ALONE = 200
"""Times that one row, or one message, is timed."""


def broker_rate(stage: Stage, rows: int, body_bytes: int) -> float:
    """Return messages a second of the broker fed frames that were encoded before the clock ran."""
    stage.empty_queue()
    return asyncio.run(_broker_rate(stage, rows, body_bytes))


async def _broker_rate(stage: Stage, rows: int, body_bytes: int) -> float:
    async with _channel(stage) as (link, channel):
        body = b"x" * body_bytes
        messages = [(n, _frames(n, body, channel.number, link.frame_max)) for n in range(1, rows + 1)]
        began = time.monotonic()
        await _fly(link, channel, messages)
        return rows / (time.monotonic() - began)


@asynccontextmanager
async def _channel(stage: Stage) -> AsyncIterator[tuple[Link, ConfirmChannel]]:
    url = stage.rabbitmq.url()
    link = await connect(BrokerConfig(url=lambda: url, name="bench"))
    if isinstance(link, Loss):
        raise Broken(f"no connection to the broker: {link.detail}")
    try:
        channel = await link.channel()
        if isinstance(channel, Loss):
            raise Broken(f"no channel: {channel.detail}")
        yield link, channel
    finally:
        await link.close(GOODBYE_S)


async def _fly(link: Link, channel: ConfirmChannel, messages: Sequence[tuple[int, bytes]]) -> None:
    confirmed = 0
    async with aclosing(fly(link, channel, deque(messages), confirm_timeout_s=30.0)) as flight:
        async for answers in flight:
            confirmed += sum(isinstance(answer.outcome, Confirmed) for answer in answers)
    if confirmed != len(messages):
        raise Broken(f"the broker confirmed {confirmed} of {len(messages)}")


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


def database_rate(stage: Stage, rows: int) -> float:
    """Return rows a second of claims and marks, on as many lanes as the relay has, without a broker between."""
    with stage.connected() as connection:
        table.fill(connection, rows)
    return asyncio.run(_database_rate(stage, rows))


async def _database_rate(stage: Stage, rows: int) -> float:
    async with _store(stage) as store:
        began = time.monotonic()
        claimed = await asyncio.gather(*(_lane(store) for _ in range(LANES)))
        seconds = time.monotonic() - began
    if sum(claimed) != rows:
        raise Broken(f"{sum(claimed)} of {rows} rows were claimed")
    return rows / seconds


@asynccontextmanager
async def _store(stage: Stage) -> AsyncIterator[PostgresStore]:
    url = stage.postgres.url(DATABASE)
    store = PostgresStore(StoreConfig(conninfo=lambda: url, application_name="bench"))
    await store.open()
    try:
        await store.ready()
        yield store
    finally:
        await store.close()


def confirm_s(stage: Stage) -> list[float]:
    """Return how long the broker took to confirm one small message, again and again."""
    stage.empty_queue()
    return asyncio.run(_confirm_s(stage))


async def _confirm_s(stage: Stage) -> list[float]:
    async with _channel(stage) as (link, channel):
        seconds = []
        for number in range(1, ALONE + 1):
            message = (number, _frames(number, b"x" * 450, channel.number, link.frame_max))
            began = time.monotonic()
            await _fly(link, channel, [message])
            seconds.append(time.monotonic() - began)
        return seconds


def claim_s(stage: Stage) -> list[float]:
    """Return how long Postgres took to give one row to a claim, again and again."""
    with stage.connected() as connection:
        table.fill(connection, ALONE)
    return asyncio.run(_claim_s(stage))


async def _claim_s(stage: Stage) -> list[float]:
    async with _store(stage) as store:
        low, seconds = 0, []
        for _ in range(ALONE):
            began = time.monotonic()
            claim = await store.claim(limit=1, low=low)
            seconds.append(time.monotonic() - began)
            low = claim.rows[-1].id + 1
        return seconds


async def _lane(store: PostgresStore) -> int:
    low = claimed = 0
    while rows := (claim := await store.claim(limit=BATCH, low=low)).rows:
        await store.settle(claim.token, [Sent(row.id, row.message_id) for row in rows])
        low, claimed = rows[-1].id, claimed + len(rows)
    return claimed
