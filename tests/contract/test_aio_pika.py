"""Habits of aio-pika for which the relay speaks to the library below it, on plain connections of its own.

Red here means that a reason of docs/decisions/0002-a-plain-connection-not-a-robust-one.md is gone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractRobustConnection

from services.broker import Broker
from services.proxy import Proxy
from tests.builders import Amqp, eventually

MakeProxy = Callable[[str, int], Awaitable[Proxy]]
MESSAGE = aio_pika.Message(b"x")
RETRY_S = 0.1


async def robust(url: str) -> AbstractRobustConnection:
    """A connection that reconnects by itself, soon."""
    return await aio_pika.connect_robust(url, reconnect_interval=RETRY_S, fail_fast="0")


async def test_a_message_is_not_persistent_unless_it_says_so() -> None:
    """Hence what users of the library must remember for each message stands in our encoder once."""
    assert MESSAGE.delivery_mode is aio_pika.DeliveryMode.NOT_PERSISTENT, "persistence is the default now"


async def test_a_publish_that_no_queue_takes_returns_as_if_all_were_well(amqp: Amqp) -> None:
    """Hence an unroutable row is an outcome of its own; here only a channel that was asked for it raises."""
    exchange = (await amqp.channel()).default_exchange
    answer = await exchange.publish(MESSAGE, "nowhere")
    assert type(answer).__name__ == "DeliveredMessage", "an unroutable message raises by default now"


async def test_nobody_is_told_of_returns_after_a_reconnect(rabbitmq: Broker, amqp: Amqp, proxy: MakeProxy) -> None:
    """Hence no callback decides what became of a row."""
    between = await proxy(rabbitmq.host, rabbitmq.amqp_port)
    async with await robust(between.url(amqp.url)) as connection:
        channel = await connection.channel()
        returned: list[Any] = []
        channel.return_callbacks.add(lambda *message: returned.append(message))
        await channel.default_exchange.publish(MESSAGE, "nowhere")
        assert len(returned) == 1
        between.reset_all()

        async def published() -> bool:
            try:
                await channel.default_exchange.publish(MESSAGE, "nowhere", timeout=5)
            except (aio_pika.exceptions.AMQPError, RuntimeError, OSError):
                return False
            return between.accepted == 2

        await eventually(published)
        assert len(returned) == 1, "return callbacks survive a reconnect now"


async def test_a_robust_connection_knows_only_the_password_of_its_first_attempt(
    rabbitmq: Broker, amqp: Amqp, proxy: MakeProxy
) -> None:
    """Hence each attempt of ours is a connection made anew, from a URL that was read anew."""
    rights = {"vhost": amqp.vhost, "configure": "", "write": ".*", "read": ""}
    user = f"rotating-{amqp.vhost}"
    await asyncio.to_thread(rabbitmq.add_user, user, "old", **rights)
    between = await proxy(rabbitmq.host, rabbitmq.amqp_port)
    async with await robust(between.url(rabbitmq.url(amqp.vhost, user, "old"))) as connection:
        await asyncio.to_thread(rabbitmq.add_user, user, "new", **rights)
        between.reset_all()
        await eventually(lambda: between.accepted >= 4)
        assert not connection.connected.is_set(), "it asks for its password again now"
        await between.refuse()
    await asyncio.to_thread(rabbitmq.delete_user, user)


async def test_while_it_reconnects_a_publish_fails_as_if_the_caller_had_erred(
    rabbitmq: Broker, amqp: Amqp, proxy: MakeProxy
) -> None:
    """Hence the end of a connection is known to `link.py` before any call on it fails, with its reason."""
    between = await proxy(rabbitmq.host, rabbitmq.amqp_port)
    async with await robust(between.url(amqp.url)) as connection:
        exchange = (await connection.channel()).default_exchange
        await between.refuse()
        between.reset_all()
        await eventually(lambda: not connection.connected.is_set())
        with pytest.raises(Exception, match=r"closed|opened") as raised:
            await exchange.publish(MESSAGE, "nowhere", timeout=5)
        assert not isinstance(raised.value, ConnectionError), "it tells of a lost connection now"
        await between.pass_all()
