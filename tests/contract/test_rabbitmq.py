"""Habits of RabbitMQ that the relay's outcomes rest on, asked over the plain library or read off the wire.

Red here after an upgrade of the broker means: an outcome no longer stands for what it did. Read its release notes, then
`relay/broker/classify.py` and `relay/broker/channel.py`.
"""

import asyncio
from typing import Any

import aiormq
import pytest
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionFrameError,
    DeliveryError,
)
from pamqp import commands as spec
from pamqp.header import ContentHeader

from relay.broker.channel import ConfirmChannel
from relay.broker.classify import Verdict
from relay.broker.link import Link
from relay.broker.wire import encode
from relay.model import Refused
from services.broker import Broker
from tests.builders import Amqp, eventually
from tests.contract.frames import recorder, write
from tests.contract.plain import acked, aiormq_channel, aiormq_connection, closed, publish, told
from tests.publishing import envelope

# -- returns ----------------------------------------------------------------------------------------------------


async def test_a_return_comes_before_its_ack(link: Link) -> None:
    """Hence `channel.py` may call a message unroutable when its ack comes, and confirmed when nothing came before."""
    channel = await recorder(link)
    for number in range(1, 51):
        write(link, channel, (number * 2, "nowhere"), (number * 2 + 1, "all"))
    await channel.settled(5)
    returned: dict[int, int] = {}
    for position, frame in enumerate(channel.heard):
        if isinstance(frame, ContentHeader):
            row_id = (frame.properties.headers or {})["x-outbox-id"]
            assert isinstance(row_id, int)
            returned[row_id] = position
    assert sorted(returned) == list(range(2, 102, 2))
    acked: dict[int, int] = {}
    for position, frame in enumerate(channel.heard):
        if isinstance(frame, spec.Basic.Ack):
            assert frame.delivery_tag is not None
            for tag in range(1 if frame.multiple else frame.delivery_tag, frame.delivery_tag + 1):
                acked.setdefault(tag, position)
    for row_id, position in returned.items():
        assert position < acked[row_id - 1], "rows 2, 3, 4, … have the tags 1, 2, 3, …"


async def test_what_no_queue_takes_is_acked_like_any_other_unless_it_was_mandatory(amqp: Amqp) -> None:
    """Hence every publish is mandatory: without it, a row would be marked sent that nobody has."""
    async with aiormq_channel(amqp.url) as channel:
        (answer,) = await told(publish(channel, "nowhere", mandatory=False))
    assert acked(answer), "an ack alone proves a queue now: `mandatory` may go"


async def test_what_an_alternate_exchange_takes_is_not_returned(amqp: Amqp) -> None:
    """Hence such a row is marked sent: somebody has it, and a publisher cannot know more."""
    channel = await amqp.channel()
    await amqp.queue("rest", "spare")
    main = await channel.declare_exchange("main", "direct", arguments={"alternate-exchange": "spare"})
    async with aiormq_channel(amqp.url) as plain:
        (answer,) = await told(publish(plain, "nowhere", exchange=main.name))
    assert acked(answer)
    assert await amqp.count("rest") == 1
    await main.delete()


# -- acks and nacks ---------------------------------------------------------------------------------------------


async def test_the_broker_acks_many_at_once(link: Link) -> None:
    """Hence an ack resolves a range of tags, and the engine gets its answers in sets."""
    channel = await recorder(link)

    async def multiple() -> bool:
        write(link, channel, *((number, "all") for number in range(1, 501)))
        await channel.settled(5)
        assert channel.in_flight == 0
        channel.take()
        return any(isinstance(frame, spec.Basic.Ack) and frame.multiple for frame in channel.heard)

    await eventually(multiple)


async def test_confirms_of_a_channel_number_that_was_used_before_begin_at_one(link: Link) -> None:
    """Hence each channel counts its own tags from one, and `link.py` may use a number again."""
    channel = await recorder(link)
    write(link, channel, *((number, "all") for number in range(1, 11)))
    await channel.settled(5)
    await channel.close()
    again = await recorder(link)
    write(link, again, (99, "all"))
    await again.settled(5)
    (ack,) = (frame for frame in again.heard if isinstance(frame, spec.Basic.Ack))
    assert ack.delivery_tag == 1


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_a_full_queue_that_rejects_nacks_what_it_does_not_take(amqp: Amqp, kind: str) -> None:
    """Hence a nack charges its row and no other, and is no outage."""
    await amqp.queue("full", x_queue_type=kind, x_max_length=10, x_overflow="reject-publish")
    async with aiormq_channel(amqp.url) as channel:

        async def full() -> None:
            answers = await told(*(publish(channel, "full") for _ in range(50)))
            assert {type(answer) for answer in answers} == {DeliveryError}

        answers = await told(*(publish(channel, "full") for _ in range(50)))
        assert {type(answer) for answer in answers} <= {spec.Basic.Ack, DeliveryError}
        assert 10 <= sum(map(acked, answers)) == await amqp.count("full")
        await eventually(full)  # a quorum queue knows a little later that it is
        assert await amqp.count("full") <= 100


async def test_a_classic_queue_nacks_many_at_once(link: Link, amqp: Amqp) -> None:
    """Hence a nack resolves a range of tags as an ack does. Of a quorum queue each says so and means one message."""
    await amqp.queue("full", x_queue_type="classic", x_max_length=1, x_overflow="reject-publish")
    channel = await recorder(link)

    async def fewer_nacks_than_messages() -> bool:
        channel.heard.clear()
        write(link, channel, *((number, "full") for number in range(1, 501)))
        await channel.settled(5)
        rejected = sum(isinstance(answer.outcome, Refused) for answer in channel.take())
        return sum(isinstance(frame, spec.Basic.Nack) for frame in channel.heard) < rejected

    await eventually(fewer_nacks_than_messages)


async def test_one_full_queue_nacks_a_message_that_another_queue_has(amqp: Amqp) -> None:
    """Hence a rejected row waits longer after each refusal: every retry is a duplicate for the queue with room."""
    await amqp.queue("full", "both", x_max_length=1, x_overflow="reject-publish")
    await amqp.queue("healthy", "both")
    async with aiormq_channel(amqp.url) as channel:
        first, second = [(await told(publish(channel, "any", exchange="both")))[0] for _ in range(2)]
    assert (acked(first), isinstance(second, DeliveryError)) == (True, True)
    assert await amqp.count("healthy") == 2, "a nack means now that no queue has it: retries cause no duplicates"


@pytest.mark.parametrize("loss", ["overflow", "expiration"])
async def test_an_ack_does_not_keep_a_queue_from_throwing_a_message_away(amqp: Amqp, loss: str) -> None:
    """Hence what a broker does after its ack is no promise of ours, and the queue that a test drains has no limit."""
    await amqp.queue("short", x_max_length=10)
    fields: dict[str, Any] = {} if loss == "overflow" else {"expiration": "0"}
    async with aiormq_channel(amqp.url) as channel:
        answers = await told(*(publish(channel, "short", **fields) for _ in range(50)))
    assert all(map(acked, answers))
    assert await amqp.count("short") == (10 if loss == "overflow" else 0)


# -- messages that the broker judges ----------------------------------------------------------------------------

POISONS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "missing exchange": ({"exchange": "missing"}, ChannelNotFoundEntity, "no exchange 'missing' in vhost"),
    "internal exchange": ({"exchange": "internal"}, ChannelAccessRefused, "exchange 'internal' in vhost"),
    "forbidden exchange": ({"exchange": "forbidden"}, ChannelAccessRefused, "exchange 'forbidden' in vhost"),
    "another's user_id": ({"user_id": "somebody else"}, ChannelPreconditionFailed, "user_id"),
    "expiration that is no number": ({"expiration": "soon"}, ChannelPreconditionFailed, "invalid expiration"),
    "negative expiration": ({"expiration": "-5"}, ChannelPreconditionFailed, "invalid expiration"),
    "CC that is no list": ({"headers": {"CC": "x"}}, ChannelPreconditionFailed, "unacceptable_type_in_header"),
    "BCC that is no list": ({"headers": {"BCC": "x"}}, ChannelPreconditionFailed, "unacceptable_type_in_header"),
}


@pytest.mark.parametrize("poison", POISONS)
async def test_a_message_that_the_broker_refuses_closes_its_channel_and_not_the_connection(
    rabbitmq: Broker, amqp: Amqp, poison: str
) -> None:
    """Hence the closed set of what `envelope.py` refuses beforehand, and the codes that `classify.py` reads."""
    fields, error, words = POISONS[poison]
    await (await amqp.channel()).declare_exchange("internal", "fanout", internal=True)
    await amqp.exchange("forbidden", "fanout")
    user = f"limited-{amqp.vhost}"
    rights = {"configure": "", "read": "", "write": "^(?!forbidden$).*"}
    await asyncio.to_thread(rabbitmq.add_user, user, "secret", vhost=amqp.vhost, **rights)
    async with aiormq_connection(rabbitmq.url(amqp.vhost, user, "secret")) as connection:
        answers = await told(publish(await connection.channel(), **fields))
        assert [type(answer) for answer in answers] == [error]
        assert words in str(answers[0]), "exchanges.py and classify.py read these words"
        assert (await connection.channel()).number > 0, "the connection lives"
    await asyncio.to_thread(rabbitmq.delete_user, user)


async def test_a_sender_selected_key_that_is_no_string_goes_nowhere_without_a_word(amqp: Amqp) -> None:
    """Hence `envelope.py` wants CC and BCC to be lists of strings: the broker would ack a message that it half sent."""
    for queue in ("all", "extra", "1"):
        await amqp.queue(queue)
    async with aiormq_channel(amqp.url) as channel:
        (answer,) = await told(publish(channel, headers={"CC": [1, "extra"]}))
    assert acked(answer), "it is refused or returned now"
    assert [await amqp.count(queue) for queue in ("all", "extra", "1")] == [1, 1, 0]


async def test_headers_over_one_frame_close_the_connection(amqp: Amqp) -> None:
    """Hence `wire.py` measures the header frame: it cannot be split, and the close would meet every lane."""
    async with aiormq_connection(amqp.url) as connection:
        frame_max = connection.connection_tune.frame_max
        await told(publish(await connection.channel(), headers={"pad": "x" * frame_max}))
        end = await closed(connection)
    assert isinstance(end, ConnectionFrameError)
    assert "frame_too_large" in str(end)


@pytest.mark.parametrize(
    ("publish_frame", "code"),
    [
        (spec.Basic.Publish(exchange="", routing_key="all", mandatory=True, immediate=True), 540),
        (spec.Basic.Publish(exchange="", routing_key="all"), 505),
    ],
)
async def test_a_protocol_error_ends_the_connection_with_its_code(
    link: Link, publish_frame: spec.Basic.Publish, code: int
) -> None:
    """Hence those codes of a closed connection are verdicts, and all others say nothing about a message."""
    channel = await link.channel()
    assert isinstance(channel, ConfirmChannel)
    channel.expect([1])
    method = aiormq.abc.ChannelFrame.marshall(channel.number, [publish_frame]).payload
    whole = encode(envelope(1), channel.number, link.frame_max)
    assert isinstance(whole, bytes)
    content = whole[whole.index(b"\xce") + 1 :]
    # 505: a second method where the content of the first was expected.
    link.write(method + (content if code == 540 else method))
    await link.ended(5)
    assert isinstance(link.end, Verdict)
    assert (link.end.code, link.end.alone) == (code, True)
