"""What a living broker answers: every message has the outcome that is its own."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from pamqp import commands as spec
from pamqp.header import ContentHeader

from relay.broker import FLUSH_S, RabbitPublisher
from relay.broker.exchanges import FORBIDDEN_TTL_S, KNOWN_MAX, MISSING_TTL_S
from relay.broker.wire import encode
from relay.model import Answer, Confirmed, Envelope, HeaderValue, Outcome, Refusal, Refused, Unknown
from services.broker import Broker
from tests.builders import Amqp, eventually, message_ids
from tests.publishing import CREATED_AT, envelope, envelopes, publish, publishing, tally, word

FRAME_MAX = 131072


@pytest.fixture
async def publisher(amqp: Amqp) -> AsyncIterator[RabbitPublisher]:
    """A publisher on the test's own vhost, with a queue `all`."""
    await amqp.queue("all")
    async with publishing(amqp.url) as made:
        assert await made.ready() is None
        yield made


async def test_a_confirmed_message_is_in_the_queue_as_the_row_says(publisher: RabbitPublisher, amqp: Amqp) -> None:
    properties: dict[str, str | int] = {
        "type": "order", "correlation_id": "c", "reply_to": "r", "priority": 3, "expiration": "60000", "app_id": "a",
        "content_encoding": "utf-8",
    }  # fmt: skip
    headers: dict[str, HeaderValue] = {"text": "ü", "none": None, "list": [1, True], "table": {"deep": 2**40}}
    sent = envelope(41, headers=headers, properties=properties, message_id="5b5a9a0e-7f1c-4b52-9a39-3c0dbb9bb7a4")

    assert await publish(publisher, [sent]) == {41: Confirmed()}

    (message,) = await amqp.drain("all", 1)
    assert message.body == b'{"n": 1}'
    assert message.delivery_mode == 2
    assert message.timestamp == CREATED_AT.replace(microsecond=0)
    assert message.headers == {
        "text": "ü",
        "none": None,
        "list": [1, True],
        "table": {"deep": 2**40},
        "x-outbox-id": 41,
    }
    assert str(message_ids([message])[0]) == sent.message_id
    seen = (message.type, message.correlation_id, message.reply_to, message.priority, message.app_id)
    assert seen == ("order", "c", "r", 3, "a")
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert message.expiration == 60.0


async def test_two_thousand_routable_and_unroutable_messages_are_told_apart(
    publisher: RabbitPublisher, amqp: Amqp
) -> None:
    batch = [envelope(number, "nowhere" if number % 3 == 0 else "all") for number in range(1, 2001)]

    outcomes = await publish(publisher, batch)

    assert {number: word(outcome) for number, outcome in outcomes.items()} == {
        number: "unroutable" if number % 3 == 0 else "confirmed" for number in range(1, 2001)
    }
    arrived = Counter((message.headers or {})["x-outbox-id"] for message in await amqp.drain("all", 1334))
    assert arrived == Counter(number for number in range(1, 2001) if number % 3)


async def test_two_rows_with_one_message_id_are_told_apart(publisher: RabbitPublisher) -> None:
    batch = [envelope(1, "nowhere", message_id="same"), envelope(2, message_id="same")]
    assert tally(await publish(publisher, batch)) == {"unroutable": 1, "confirmed": 1}
    assert isinstance((await publish(publisher, batch))[2], Confirmed)


async def test_a_large_returned_message_is_attributed(publisher: RabbitPublisher) -> None:
    batch = [envelope(1, "nowhere", body=b"x" * 500_000), envelope(2), envelope(3, "nowhere", body=b"")]
    assert [word(outcome) for _, outcome in sorted((await publish(publisher, batch)).items())] == [
        "unroutable",
        "confirmed",
        "unroutable",
    ]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_a_full_queue_that_rejects_blames_what_it_rejects(amqp: Amqp, kind: str) -> None:
    await amqp.queue("full", x_max_length=10, x_overflow="reject-publish", x_queue_type=kind)
    async with publishing(amqp.url) as publisher:
        told = tally(await publish(publisher, envelopes(200, routing_key="full")))
        assert told["confirmed"] == await amqp.count("full")
        assert told.get("rejected", 0) == 200 - told["confirmed"]

        async def rejected() -> bool:  # a quorum queue takes more than its limit until it notices
            return tally(await publish(publisher, envelopes(5, routing_key="full"))) == {"rejected": 5}

        await eventually(rejected)


async def test_an_empty_batch_has_no_answers(publisher: RabbitPublisher) -> None:
    assert await publish(publisher, []) == {}


@pytest.mark.parametrize(
    "size",
    [0, 1, *(FRAME_MAX - 8 + by for by in (-1, 0, 1)), *(FRAME_MAX + by for by in (-1, 0, 1)),
     *(2**20 + by for by in (-1, 0, 1)), 5 * 2**20],
)  # fmt: skip
async def test_a_body_of_any_size_arrives_whole(publisher: RabbitPublisher, amqp: Amqp, size: int) -> None:
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    assert tally(await publish(publisher, [envelope(1, body=body), envelope(2)])) == {"confirmed": 2}
    first, second = await amqp.drain("all", 2)
    assert first.body == body
    assert second.body == b'{"n": 1}'


async def test_a_batch_of_many_writes_arrives_in_order(publisher: RabbitPublisher, amqp: Amqp) -> None:
    batch = [envelope(number, body=b"x" * 40_000) for number in range(1, 201)]
    assert tally(await publish(publisher, batch)) == {"confirmed": 200}
    arrived = [(message.headers or {})["x-outbox-id"] for message in await amqp.drain("all", 200)]
    assert arrived == list(range(1, 201))


async def test_lanes_publish_side_by_side_on_one_connection(publisher: RabbitPublisher, amqp: Amqp) -> None:
    batches = [[envelope(lane * 1000 + number) for number in range(300)] for lane in range(4)]
    outcomes = await asyncio.gather(*(publish(publisher, batch) for _ in range(3) for batch in batches))
    assert Counter(word(outcome) for told in outcomes for outcome in told.values()) == {"confirmed": 3600}
    assert await amqp.count("all") == 3600


async def test_answers_come_while_the_rest_is_still_unresolved(amqp: Amqp) -> None:
    await amqp.queue("all")
    loop = asyncio.get_running_loop()
    async with publishing(amqp.url) as publisher:
        pauses: list[float] = []
        before = loop.time()
        async for _ in publisher.publish(envelopes(20, body=b"x" * 2**20)):
            pauses.append(loop.time() - before)
            before = loop.time()
    assert len(pauses) > 20
    assert sorted(pauses)[len(pauses) // 2] <= FLUSH_S


async def test_a_row_twice_in_a_batch_is_our_own_fault(publisher: RabbitPublisher) -> None:
    with pytest.raises(AssertionError, match="twice"):
        await publish(publisher, [envelope(1), envelope(1)])


# -- rows that would close the channel --------------------------------------------------------------------------


async def republish_alone(publisher: RabbitPublisher, batch: list[Envelope]) -> tuple[dict[int, Outcome], set[int]]:
    """Publish as the engine does: what remains unknown is published again, one at a time."""
    outcomes = await publish(publisher, batch)
    unknown = {row_id for row_id, outcome in outcomes.items() if isinstance(outcome, Unknown)}
    for each in batch:
        if each.row_id in unknown:
            outcomes |= await publish(publisher, [each])
    return outcomes, unknown


POISONS: dict[str, tuple[dict[str, Any], Refusal]] = {
    "missing exchange": ({"exchange": "missing"}, Refusal.NO_EXCHANGE),
    "internal exchange": ({"exchange": "internal"}, Refusal.FORBIDDEN),
    "forbidden exchange": ({"exchange": "forbidden"}, Refusal.FORBIDDEN),
    "expiration that is no number": ({"properties": {"expiration": "abc"}}, Refusal.BLAMED),
    "negative expiration": ({"properties": {"expiration": "-5"}}, Refusal.BLAMED),
    "CC that is no list": ({"headers": {"CC": "x"}}, Refusal.BLAMED),
    "headers over one frame": ({"headers": {"pad": "x" * 200_000}}, Refusal.INVALID),
    "routing key of 300 bytes": ({"routing_key": "k" * 300}, Refusal.INVALID),
}


@pytest.fixture
async def limited(amqp: Amqp, rabbitmq: Broker) -> AsyncIterator[str]:
    """The URL of a user who may not write to the exchange `forbidden`; `internal` takes from exchanges only."""
    channel = await amqp.channel()
    await channel.declare_exchange("internal", "fanout", internal=True)
    await amqp.exchange("forbidden", "fanout")
    await amqp.queue("all")
    user = f"limited-{amqp.vhost}"
    rights = {"configure": "", "read": "", "write": "^(?!forbidden$).*"}
    await asyncio.to_thread(rabbitmq.add_user, user, "secret", vhost=amqp.vhost, **rights)
    yield rabbitmq.url(amqp.vhost, user, "secret")
    await asyncio.to_thread(rabbitmq.delete_user, user)


@pytest.mark.parametrize("poison", POISONS)
async def test_one_poison_among_a_hundred_harms_nobody_else(limited: str, poison: str) -> None:
    fields, reason = POISONS[poison]
    batch = envelopes(100)
    batch[50] = envelope(51, **fields)
    async with publishing(limited) as publisher:
        outcomes, _ = await republish_alone(publisher, batch)
        assert word(outcomes.pop(51)) == reason
        assert tally(outcomes) == {"confirmed": 99}
        assert publisher.connected, "a poison must not cost the connection"


async def test_a_missing_exchange_never_closes_the_channel(publisher: RabbitPublisher) -> None:
    batch = [envelope(number, exchange="missing" if number % 2 else "") for number in range(1, 101)]
    assert tally(await publish(publisher, batch)) == {"no_exchange": 50, "confirmed": 50}


async def test_an_exchange_deleted_behind_our_back_is_noticed_at_the_publish(
    publisher: RabbitPublisher, amqp: Amqp
) -> None:
    await amqp.queue("bound", "short-lived")
    assert tally(await publish(publisher, envelopes(10, exchange="short-lived"))) == {"confirmed": 10}
    await (await amqp.channel()).exchange_delete("short-lived")
    outcomes, unknown = await republish_alone(publisher, [*envelopes(50, exchange="short-lived"), envelope(51)])
    assert unknown == set(range(1, 52))
    assert word(outcomes.pop(51)) == "confirmed"
    assert tally(outcomes) == {"no_exchange": 50}
    assert publisher.connected


async def test_a_batch_larger_than_one_write_loses_only_what_was_in_flight(
    publisher: RabbitPublisher, amqp: Amqp
) -> None:
    """What the closed channel had not taken flies on the next channel in the same publish."""
    batch = envelopes(60, body=b"x" * 400_000)
    batch[2] = envelope(3, headers={"CC": "x"}, body=b"x" * 400_000)
    outcomes, unknown = await republish_alone(publisher, batch)
    assert 3 in unknown
    assert word(outcomes.pop(3)) == "blamed"
    assert tally(outcomes) == {"confirmed": 59}
    arrived = {(message.headers or {})["x-outbox-id"] for message in await amqp.drain("all", 59)}
    assert arrived == set(range(1, 61)) - {3}


async def test_a_forbidden_exchange_is_learned_from_one_verdict(limited: str) -> None:
    async with publishing(limited) as publisher:
        assert tally(await publish(publisher, envelopes(1, exchange="forbidden"))) == {"forbidden": 1}
        mixed = [envelope(number, exchange="forbidden" if number % 2 else "") for number in range(1, 101)]
        assert tally(await publish(publisher, mixed)) == {"forbidden": 50, "confirmed": 50}


async def test_a_belief_about_an_exchange_ends(amqp: Amqp) -> None:
    async with publishing(amqp.url, exchange_ttl_s=0.1) as publisher:
        assert tally(await publish(publisher, envelopes(1, exchange="late"))) == {"no_exchange": 1}
        await amqp.queue("all", "late")

        async def confirmed() -> bool:
            return tally(await publish(publisher, envelopes(1, exchange="late"))) == {"confirmed": 1}

        await eventually(confirmed)


async def test_a_missing_exchange_is_used_soon_after_it_was_declared(publisher: RabbitPublisher, amqp: Amqp) -> None:
    """However long the belief in one that is there: each refusal costs a row an attempt."""
    assert tally(await publish(publisher, envelopes(1, exchange="late"))) == {"no_exchange": 1}
    await amqp.queue("all", "late")

    async def confirmed() -> bool:
        return tally(await publish(publisher, envelopes(1, exchange="late"))) == {"confirmed": 1}

    await eventually(confirmed, 5 * MISSING_TTL_S)


async def test_a_forbidden_exchange_is_used_soon_after_the_right_to_it_was_given(
    limited: str, amqp: Amqp, rabbitmq: Broker
) -> None:
    async with publishing(limited) as publisher:
        assert tally(await publish(publisher, envelopes(1, exchange="forbidden"))) == {"forbidden": 1}
        rights = {"configure": "", "read": "", "write": ".*"}
        user = quote(f"limited-{amqp.vhost}", safe="")
        path = f"/api/permissions/{quote(amqp.vhost, safe='')}/{user}"
        await asyncio.to_thread(rabbitmq.api, "PUT", path, rights)
        await (await (await amqp.channel()).get_queue("all")).bind("forbidden")

        async def confirmed() -> bool:
            return tally(await publish(publisher, envelopes(1, exchange="forbidden"))) == {"confirmed": 1}

        await eventually(confirmed, 2 * FORBIDDEN_TTL_S)


async def test_an_exchange_can_be_asked_about(publisher: RabbitPublisher, amqp: Amqp) -> None:
    await amqp.exchange("orders")
    missing = await publisher.check_exchange("missing")
    assert isinstance(missing, Refused)
    assert missing.reason is Refusal.NO_EXCHANGE
    assert await publisher.check_exchange("orders") is None
    assert await publisher.check_exchange("") is None
    assert await publisher.check_exchange("a name that the library would not encode\N{DEGREE SIGN}") is None


async def test_headers_may_fill_one_frame(publisher: RabbitPublisher) -> None:
    """Find the largest that we take, and see that the broker takes it too."""
    sizes = range(FRAME_MAX - 300, FRAME_MAX)
    fits = [size for size in sizes if isinstance(encode(envelope(1, headers={"pad": "x" * size}), 1, FRAME_MAX), bytes)]
    largest = {"pad": "x" * max(fits)}
    assert tally(await publish(publisher, [envelope(1, headers=largest), envelope(2)])) == {"confirmed": 2}
    over = {"pad": "x" * (max(fits) + 1)}
    assert tally(await publish(publisher, [envelope(1, headers=over), envelope(2)])) == {"invalid": 1, "confirmed": 1}


async def test_names_of_exchanges_are_forgotten_rather_than_hoarded(publisher: RabbitPublisher, amqp: Amqp) -> None:
    """Rows may invent an exchange each."""
    await amqp.queue("bound", "orders")
    believed = publisher._exchanges._believed
    believed.update({f"invented-{number}": (None, float("inf")) for number in range(KNOWN_MAX)})
    assert tally(await publish(publisher, envelopes(2, exchange="orders"))) == {"confirmed": 2}
    assert len(believed) == 1


# -- a broker that makes no sense -------------------------------------------------------------------------------

NONSENSE: dict[str, list[Any]] = {
    "a confirm for what was not sent": [spec.Basic.Ack(10**6)],
    "many confirms for what was not sent": [spec.Basic.Ack(10**6, multiple=True)],
    "a confirm twice": [spec.Basic.Ack(1), spec.Basic.Ack(1)],
    "a return that names no row": [spec.Basic.Return(312, "NO_ROUTE", "", ""), ContentHeader()],
    "content without a return": [ContentHeader(properties=spec.Basic.Properties(headers={"x-outbox-id": 1}))],
}


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_what_makes_no_sense_costs_the_connection_and_no_row(publisher: RabbitPublisher, nonsense: str) -> None:
    flight = publisher.publish(envelopes(50, body=b"x" * 2**20))
    answers = [*await anext(flight)]
    assert publisher._link is not None
    (channel,) = publisher._link._channels
    for frame in NONSENSE[nonsense]:
        await channel.frames.put((0, frame))
    async for some in flight:
        answers += some
    told = Counter(word(answer.outcome) for answer in answers)
    assert told["unreachable"] > 0
    assert told.total() == 50
    assert set(told) <= {"confirmed", "unreachable"}
    assert tally(await publish(publisher, envelopes(1))) == {"confirmed": 1}


# -- giving up in the midst -------------------------------------------------------------------------------------


async def test_a_cancelled_publish_leaves_the_publisher_of_use(publisher: RabbitPublisher) -> None:
    for delay_s in (0.0, 0.001, 0.003, 0.01):
        flight = asyncio.create_task(publish(publisher, envelopes(500, body=b"x" * 2000)))
        await asyncio.wait({flight}, timeout=delay_s)
        flight.cancel()
        await asyncio.wait({flight})
        assert flight.cancelled() or delay_s > 0.0
        mixed = [envelope(number, "all" if number % 2 else "nowhere") for number in range(1, 101)]
        assert tally(await publish(publisher, mixed)) == {"confirmed": 50, "unroutable": 50}
    assert publisher.connected


async def test_a_publish_closed_early_leaves_the_publisher_of_use(publisher: RabbitPublisher) -> None:
    flight = publisher.publish(envelopes(500, body=b"x" * 20_000))
    first: list[Answer] = list(await anext(flight))
    await flight.aclose()
    assert len(first) < 500
    assert tally(await publish(publisher, envelopes(10))) == {"confirmed": 10}


async def test_answers_nobody_waited_for_do_not_meet_the_next_batch(publisher: RabbitPublisher) -> None:
    flight = publisher.publish(envelopes(200))
    await anext(flight)
    assert publisher._link is not None
    (channel,) = publisher._link._channels
    await eventually(lambda: channel.in_flight == 0)
    await flight.aclose()
    assert publisher._link._free == [channel]
    assert tally(await publish(publisher, [envelope(1, "nowhere"), envelope(1000)])) == {
        "unroutable": 1,
        "confirmed": 1,
    }


async def test_what_is_in_flight_when_the_publisher_closes_is_answered(amqp: Amqp) -> None:
    await amqp.queue("all")
    async with publishing(amqp.url) as publisher:
        flight = publisher.publish(envelopes(100, body=b"x" * 2**20))
        answers = [*await anext(flight)]
        await publisher.close(3)
        async for some in flight:
            answers += some
        assert sorted(answer.row_id for answer in answers) == list(range(1, 101))
        assert {word(answer.outcome) for answer in answers} <= {"confirmed", "unreachable"}
        assert tally(await publish(publisher, envelopes(2))) == {"unreachable": 2}
        assert not publisher.connected


async def test_nothing_goes_on_after_the_close(rabbitmq: Broker) -> None:
    before = asyncio.all_tasks()
    async with publishing(rabbitmq.url()) as publisher:
        batch = [envelope(1, exchange="missing"), envelope(2, "nowhere"), envelope(3, "nowhere", headers={"CC": "x"})]
        assert len(await publish(publisher, batch)) == 3

    async def ended() -> bool:
        return asyncio.all_tasks() <= before

    await eventually(ended)
