"""What RabbitMQ does with messages in flight when it is alarmed, frozen, stopped or killed; a broker of our own.

Red here after an upgrade of the broker means: an outage no longer looks as the relay expects. Read its release notes,
then `relay/broker/link.py` and `relay/outage.py`.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from aiormq.exceptions import (
    AMQPConnectionError,
    ChannelAccessRefused,
    ChannelPreconditionFailed,
    ConnectionClosed,
    ProbableAuthenticationError,
)

from relay.broker.channel import ConfirmChannel
from relay.broker.classify import Loss
from services import find
from services.find import OwnRabbitMQ
from tests.builders import Amqp, eventually
from tests.contract.frames import linked, write
from tests.contract.plain import Told, acked, aiormq_channel, aiormq_connection, closed, publish, told

BODY_BYTES_MAX = 1_000_000
IN_FLIGHT = 20
PATIENCE_S = 0.5


@pytest.fixture(scope="module")
def broker() -> Iterator[OwnRabbitMQ]:
    """A broker to break; each test leaves it whole."""
    made = find.own_rabbitmq(config=[f"max_message_size = {BODY_BYTES_MAX}"])
    yield made
    made.close()


def many(channel: AbstractChannel, **fields: Any) -> list[Awaitable[Told]]:
    """Publishes, as many as shall be in flight at once."""
    return [publish(channel, **fields) for _ in range(IN_FLIGHT)]


# -- an alarm ---------------------------------------------------------------------------------------------------


async def test_an_alarm_is_told_only_to_those_who_publish_and_what_they_published_comes_after_it(
    broker: OwnRabbitMQ, part: Amqp
) -> None:
    """Hence a probe is a real row with its confirm, and a row that a blocked broker never confirmed is in doubt."""
    await asyncio.to_thread(broker.alarm, on=True)
    try:
        async with aiormq_connection(part.url) as connection:
            channel = await connection.channel()
            await channel.queue_declare("made in the alarm", durable=True)
            async with asyncio.timeout(PATIENCE_S):
                await connection.ready()  # would wait, had the broker told of a block

            answers = await told(*many(channel, timeout=PATIENCE_S))
            assert {type(answer) for answer in answers} == {TimeoutError}
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await connection.ready()
            await asyncio.to_thread(broker.alarm, on=False)
            await connection.ready()

            async def arrived() -> None:
                assert await part.count("all") == IN_FLIGHT, "what timed out does not come any more: no doubt is needed"

            await eventually(arrived)
    finally:
        await asyncio.to_thread(broker.alarm, on=False)


async def test_a_block_reaches_our_stand_in_for_the_private_handler(broker: OwnRabbitMQ, part: Amqp) -> None:
    """Hence the outage begins with the first publish of an alarm, not with a timeout."""
    await asyncio.to_thread(broker.alarm, on=True)
    try:
        async with linked(part.url) as link:
            channel = await link.channel()
            assert isinstance(channel, ConfirmChannel)
            write(link, channel, (1, "all"))
            await link.ended(5)
            assert isinstance(link.end, Loss)
            assert "low on memory" in link.end.detail
    finally:
        await asyncio.to_thread(broker.alarm, on=False)


# -- silence ----------------------------------------------------------------------------------------------------


async def test_what_a_frozen_broker_was_sent_arrives_although_its_publisher_gave_up(
    broker: OwnRabbitMQ, part: Amqp
) -> None:
    """Hence a confirm timeout is no failure: the row is in doubt, its next publish says so, and a reset throws away
    what the kernel still holds.
    """
    async with aiormq_connection(part.url) as connection:
        channel = await connection.channel()
        broker.pause()
        try:
            answers = await told(*many(channel, timeout=PATIENCE_S))
            assert {type(answer) for answer in answers} == {TimeoutError}
            connecting = asyncio.ensure_future(aiormq.Connection(part.url).connect())
            done, _ = await asyncio.wait({connecting}, timeout=PATIENCE_S)
            assert not done, "a frozen broker's kernel takes connections: only an answer proves that it lives"
            connecting.cancel()
        finally:
            await connection.close()
            broker.resume()

    async def arrived() -> None:
        assert await part.count("all") > 0, "what was given up does not arrive any more: no doubt is needed"

    await eventually(arrived)


# -- ends -------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
async def test_a_broker_that_stops_in_order_says_320_and_keeps_what_it_had_not_confirmed(
    broker: OwnRabbitMQ, part: Amqp
) -> None:
    """Hence 320 is a loss like another: nobody is blamed, nothing is charged, and all in flight may be duplicates.

    A busy connection may meet the reset before it has read the close, so it often looks like a cut network.
    """
    confirmed = 0
    async with aiormq_connection(part.url) as idle, aiormq_connection(part.url) as busy:
        channel = await busy.channel()
        stopping = asyncio.ensure_future(asyncio.to_thread(broker.ctl, "stop_app"))
        while not busy.is_closed:
            confirmed += sum(map(acked, await told(*many(channel))))
        await stopping
        quiet, cut = await closed(idle), await closed(busy)
        await asyncio.to_thread(broker.ctl, "start_app")
    assert type(quiet) is ConnectionClosed, repr(quiet)
    assert quiet.args[0] == 320
    assert isinstance(cut, AMQPConnectionError), repr(cut)

    async def back() -> None:
        assert await part.count("all") >= confirmed > 0, "a confirmed message is gone"

    await eventually(back, 30)


@pytest.mark.timeout(120)
async def test_a_killed_broker_has_every_confirmed_message_that_was_persistent_and_no_other(
    broker: OwnRabbitMQ, part: Amqp
) -> None:
    """Hence delivery mode 2 is not for a row to choose; with it, and a durable queue, an ack may be believed.

    But not at once after a quorum queue was declared: killed in that moment, 3.10 forgets the queue's whole log.
    """
    await part.queue("transient")
    await part.queue("quorum", x_queue_type="quorum")
    async with aiormq_channel(part.url) as channel:
        for queue, mode in (("all", 2), ("quorum", 2), ("transient", 1)):
            answers = await told(*(publish(channel, queue, delivery_mode=mode) for _ in range(100)))
            assert all(map(acked, answers))
        # What the broker knows of a new quorum queue reaches the disk a while after its messages do.
        await asyncio.to_thread(broker.remember)
        await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.start)

    async def counted() -> None:
        assert [await part.count(queue) for queue in ("all", "quorum")] == [100, 100], "a confirmed message is gone"

    await eventually(counted, 30)
    assert await part.count("transient") == 0, "a transient message survives a crash now: no mode loses an acked one"


# -- rights and limits ------------------------------------------------------------------------------------------


async def test_a_changed_password_is_asked_for_only_when_somebody_connects(broker: OwnRabbitMQ, part: Amqp) -> None:
    """Hence a refused login is an outage with a reason of its own: it comes long after the rotation."""
    user = f"rotating-{part.vhost}"
    rights = {"vhost": part.vhost, "configure": "", "write": ".*", "read": ""}
    await asyncio.to_thread(broker.add_user, user, "old", **rights)
    url = broker.url(part.vhost, user, "old")
    async with aiormq_channel(url) as channel:
        await asyncio.to_thread(broker.add_user, user, "new", **rights)
        answers = await told(*(publish(channel) for _ in range(10)))
        assert all(map(acked, answers)), "an open connection is asked again now"
        with pytest.raises(ProbableAuthenticationError):
            await aiormq.connect(url)
    await asyncio.to_thread(broker.delete_user, user)


async def test_a_revoked_permission_is_noticed_by_new_channels_alone(broker: OwnRabbitMQ, part: Amqp) -> None:
    """Hence a channel that is used again for hours may still do what a new one may not, and both are right."""
    user = f"revoked-{part.vhost}"
    rights = {"vhost": part.vhost, "configure": "", "read": ""}
    await asyncio.to_thread(broker.add_user, user, "secret", write=".*", **rights)
    async with aiormq_connection(broker.url(part.vhost, user, "secret")) as connection:
        old = await connection.channel()
        assert acked((await told(publish(old)))[0])
        await asyncio.to_thread(broker.add_user, user, "secret", write="", **rights)
        (still,) = await told(publish(old))
        (refused,) = await told(publish(await connection.channel()))
    assert isinstance(refused, ChannelAccessRefused)
    assert acked(still), "an open channel notices now: the next publish is refused at once"
    await asyncio.to_thread(broker.delete_user, user)


async def test_a_body_over_the_brokers_limit_closes_its_channel(broker: OwnRabbitMQ, part: Amqp) -> None:
    """Hence RELAY_MAX_MESSAGE_BYTES: the broker's own limit judges too late, with others in flight."""
    async with aiormq_channel(broker.url(part.vhost)) as channel:
        (fits,) = await told(publish(channel, body=b"x" * BODY_BYTES_MAX))
        (large,) = await told(publish(channel, body=b"x" * (BODY_BYTES_MAX + 1)))
    assert acked(fits)
    assert isinstance(large, ChannelPreconditionFailed)
    assert "message size" in str(large)
