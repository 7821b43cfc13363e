"""Habits of aiormq and pamqp that the broker side works around, tried on the plain libraries.

Red here means that a habit is gone: what works around it may go as well, and its reason must be written anew.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import aiormq
import pytest
from aiormq.exceptions import ChannelPreconditionFailed, ConnectionChannelError, PublishError
from pamqp import decode, encode

from services.broker import Broker
from services.proxy import Proxy
from tests.builders import Amqp, eventually
from tests.contract.plain import acked, aiormq_channel, aiormq_connection, closed, publish, told

MakeProxy = Callable[[str, int], Awaitable[Proxy]]


# -- whose answer it is -----------------------------------------------------------------------------------------


async def test_a_return_is_attributed_by_message_id_so_that_a_lost_message_counts_as_confirmed(amqp: Amqp) -> None:
    """Hence `channel.py` resolves returns by the row's own number: a producer may give two rows one message_id."""
    await amqp.queue("all")
    async with aiormq_channel(amqp.url) as channel:
        lost, arrived = await told(publish(channel, "nowhere", message_id="one"), publish(channel, message_id="one"))
    assert (acked(lost), isinstance(arrived, PublishError)) == (True, True), (
        f"returns are attributed rightly now, {lost!r} and {arrived!r}: relay/broker/channel.py may leave it to aiormq"
    )
    assert await amqp.count("all") == 1


async def test_bystanders_of_a_closed_channel_are_told_the_words_for_another_message(amqp: Amqp) -> None:
    """Hence a verdict blames a message only when it was alone in flight; bystanders are Unknown, and asked again."""
    await amqp.queue("all", x_queue_type="quorum")  # confirms a little later than it takes

    async def wronged() -> None:
        await amqp.drain("all")
        async with aiormq_channel(amqp.url) as channel:
            ids = [f"message {number}" for number in range(100)]
            fields: list[dict[str, Any]] = [{"message_id": each} for each in ids]
            fields[50]["user_id"] = "somebody else"
            answers = await told(*(publish(channel, **each) for each in fields))
        blamed = {
            each for each, answer in zip(ids, answers, strict=True) if isinstance(answer, ChannelPreconditionFailed)
        }
        arrived = {message.message_id for message in await amqp.drain("all")}
        assert len(blamed) > 1
        assert blamed & arrived, "no message was both blamed and delivered: is a bystander told apart now?"

    await eventually(wronged)


# -- ends -------------------------------------------------------------------------------------------------------


async def test_publishes_that_wait_while_a_channel_is_closed_cost_the_whole_connection(amqp: Amqp) -> None:
    """Hence a batch is one write, and exchanges are asked about first: frames after CloseOk are answered with 504."""
    await amqp.queue("all")
    async with aiormq_connection(amqp.url) as connection:
        channel = await connection.channel()
        exchanges = ["missing" if number == 50 else "" for number in range(300)]
        await told(*(publish(channel, exchange=each) for each in exchanges))
        end = await closed(connection)
        assert isinstance(end, ConnectionChannelError), "nothing is written after CloseOk any more"
        assert "expected 'channel.open'" in str(end)


class Impatient(aiormq.Connection):
    """The library, but that it gives a silent connection up after one heartbeat and not three."""

    HEARTBEAT_GRACE_MULTIPLIER = 1


async def test_publishes_of_a_silent_connection_end_as_if_they_were_cancelled(
    rabbitmq: Broker, amqp: Amqp, proxy: MakeProxy
) -> None:
    """Hence `within.py` runs the library's coroutines as tasks of their own: a task group keeps quiet about these."""
    await amqp.queue("all")
    between = await proxy(rabbitmq.host, rabbitmq.amqp_port)
    connection = Impatient(f"{between.url(amqp.url)}?heartbeat=1")
    await connection.connect()
    channel = await connection.channel()
    outcomes: list[object] = []

    async def lane() -> None:
        try:
            outcomes.append(await publish(channel))
        except Exception as error:  # noqa: BLE001 - the point: this does not see it
            outcomes.append(error)

    between.blackhole()
    async with asyncio.timeout(10), asyncio.TaskGroup() as lanes:
        for _ in range(20):
            lanes.create_task(lane())
    assert outcomes == [], "a connection given up now ends in an error: `within` need not look for cancellations"


async def test_connecting_to_a_server_that_says_nothing_never_ends(rabbitmq: Broker, proxy: MakeProxy) -> None:
    """Hence every attempt to connect is bounded by us."""
    between = await proxy(rabbitmq.host, rabbitmq.amqp_port)
    between.blackhole()
    connecting = asyncio.ensure_future(aiormq.Connection(f"{between.url(rabbitmq.url())}?heartbeat=1").connect())
    await eventually(lambda: between.accepted == 1)
    done, _ = await asyncio.wait({connecting}, timeout=1)
    assert not done, "aiormq bounds it by itself now"
    connecting.cancel()
    await asyncio.wait({connecting})


async def test_saying_goodbye_to_a_silent_broker_takes_longer_than_the_bytes_need(
    rabbitmq: Broker, proxy: MakeProxy
) -> None:
    """Hence `Link.close` has a limit and `Link.abort` asks nobody."""
    between = await proxy(rabbitmq.host, rabbitmq.amqp_port)
    async with aiormq_connection(between.url(rabbitmq.url())) as connection:
        between.blackhole()
        closing = asyncio.ensure_future(connection.close())
        done, _ = await asyncio.wait({closing}, timeout=1)
        assert not done, "a close does not wait for the broker any more"
        await asyncio.wait({closing})


# -- what is sent -----------------------------------------------------------------------------------------------


async def test_a_publish_is_neither_persistent_nor_mandatory_unless_it_says_so(amqp: Amqp) -> None:
    """Hence `wire.py` writes both into every publish, and there is no way around it: either default loses messages."""
    await amqp.queue("all")
    async with aiormq_channel(amqp.url) as channel:
        answers = await told(channel.basic_publish(b"x", routing_key="all"), channel.basic_publish(b"x"))
    assert all(map(acked, answers)), "what no queue takes is told of by default now"
    (message,) = await amqp.drain("all", 1)
    assert message.delivery_mode == 1, "persistence is the default now"


def test_a_fraction_is_encoded_with_32_bits() -> None:
    """Hence `envelope.py` refuses fractions in headers, and the encoder knows none."""
    assert decode.embedded_value(encode.encode_table_value(0.1))[1] != 0.1, "pamqp keeps all digits of a float now"


def test_the_name_of_a_header_is_cut_at_128_bytes(caplog: pytest.LogCaptureFixture) -> None:
    """Hence `envelope.py` refuses longer ones: the row would arrive, but not as it was written."""
    with caplog.at_level(logging.CRITICAL, logger="pamqp.encode"):
        data = encode.field_table({"n" * 200: 1})
    assert decode.field_table(data)[1] == {"n" * 128: 1}, "pamqp keeps long names, or refuses them, now"


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ({"headers": {"n": 2**64}}, TypeError),
        ({"headers": {"n": object()}}, TypeError),
        ({"headers": {"n": "\ud800"}}, UnicodeEncodeError),
        ({"priority": 300}, struct.error),
        ({"message_id": "x" * 300}, TypeError),
        ({"routing_key": "k" * 256}, ValueError),
        ({"routing_key": "é" * 200}, TypeError),
    ],
    ids=["wide integer", "foreign type", "half a pair", "priority", "long text", "long key", "long key in bytes"],
)
async def test_what_cannot_be_encoded_raises_any_exception_and_shifts_no_confirm(
    amqp: Amqp, what: dict[str, Any], error: type[Exception]
) -> None:
    """Hence a batch is encoded before a byte is written, and any exception of it is the row's own fault.

    Names are measured in bytes beforehand. Below 7.1.6 such a row made every later confirm of its channel the answer
    to its neighbour, hence the lower bound in pyproject.toml.
    """
    await amqp.queue("all")
    async with aiormq_channel(amqp.url) as channel:
        (raised,) = await told(publish(channel, **what))
        assert type(raised) is error, repr(raised)
        lost, arrived = await told(publish(channel, "nowhere"), publish(channel))
    assert isinstance(lost, PublishError), "its confirm went to another message"
    assert acked(arrived)
