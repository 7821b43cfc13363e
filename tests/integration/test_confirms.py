"""Confirms in every shape that the protocol allows, said in the broker's stead: it chooses its own as it likes."""

from typing import Any

import pytest
from pamqp import commands as spec

from relay.broker.classify import Loss
from relay.model import Fault
from services.broker import Broker
from services.proxy import Proxy
from tests.builders import Amqp
from tests.publishing import envelopes, publishing, word

SHAPES: dict[str, tuple[list[Any], list[str]]] = {
    "one of three": ([spec.Basic.Ack(2)], ["unreachable", "confirmed", "unreachable"]),
    "the first two at once": ([spec.Basic.Ack(2, multiple=True)], ["confirmed", "confirmed", "unreachable"]),
    "all at once, by 0": ([spec.Basic.Ack(0, multiple=True)], ["confirmed"] * 3),
    "the last, then all before it": (
        [spec.Basic.Ack(3), spec.Basic.Ack(2, multiple=True)],
        ["confirmed", "confirmed", "confirmed"],
    ),
    "a nack of one": ([spec.Basic.Nack(2)], ["unreachable", "rejected", "unreachable"]),
    "a nack of the rest": (
        [spec.Basic.Ack(1), spec.Basic.Nack(3, multiple=True)],
        ["confirmed", "rejected", "rejected"],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_confirm_is_for_the_messages_that_it_names_and_an_end_takes_none_back(
    rabbitmq: Broker, amqp: Amqp, proxy: Any, shape: str
) -> None:
    frames, outcomes = SHAPES[shape]
    await amqp.queue("all")
    between: Proxy = await proxy(rabbitmq.host, rabbitmq.amqp_port)
    async with publishing(between.url(amqp.url)) as publisher:
        assert await publisher.ready() is None
        between.hold("down")
        flight = publisher.publish(envelopes(3))
        answers = [*await anext(flight)]
        assert publisher._link is not None
        (channel,) = publisher._link._channels
        for frame in frames:
            await channel.frames.put((0, frame))
        publisher._link.abort(Loss(Fault.LOST, "cut by the test"))
        async for some in flight:
            answers += some
    assert [word(answer.outcome) for answer in sorted(answers, key=lambda each: each.row_id)] == outcomes
