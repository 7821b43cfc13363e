"""What the engine is promised of a publisher: one suite for the double and for RabbitMQ, so either may be believed.

The suite cannot catch what the double has no notion of: bytes, frames and messages that are written in part, what is
known of exchanges and learned from a verdict, channels that are used again, permissions, and why a connection was
refused in the broker's own words. Nor does it tell which bystanders of a closed channel were confirmed before: the
double confirms all that came first, the real broker those it got round to. Only RabbitMQ is asked about these, in
tests/integration and tests/faults. One message beside another batch on a connection that is closed is Unknown to the
double; the real publisher publishes it again on a connection of its own. The engine must not need that.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import pytest

from relay.broker import FLUSH_S
from relay.model import Answer, Confirmed, Fault, Outcome, Refusal, Refused, Unknown, Unreachable
from services import find
from services.find import OwnRabbitMQ
from tests.builders import Amqp
from tests.contract.brokers import (
    IMPATIENCE_S,
    PATIENCE_S,
    AlarmedStand,
    Batch,
    Kind,
    RabbitStand,
    ScriptedStand,
    Stand,
    on_rabbit,
)
from tests.publishing import publish as publish_whole
from tests.publishing import word

GOOD, UNROUTABLE, REJECTED, NO_EXCHANGE, INVALID, CLOSES_CHANNEL, CLOSES_CONNECTION = Kind
BLOCK_S = 2.0
"""A block is told at once, not after a timeout."""


@pytest.fixture(params=["double", "rabbitmq"])
def server(request: pytest.FixtureRequest) -> Callable[[float], AbstractAsyncContextManager[RabbitStand]] | None:
    """What makes a real stand; None for the double."""
    if request.param == "double":
        return None
    amqp, proxy = request.getfixturevalue("amqp"), request.getfixturevalue("proxy")
    return lambda timeout_s: on_rabbit(amqp, proxy, timeout_s)


@pytest.fixture
def timeout_s() -> float:
    """How long the publisher waits for a connection or a confirm; a test may say otherwise."""
    return PATIENCE_S


@pytest.fixture
async def stand(
    server: Callable[[float], AbstractAsyncContextManager[RabbitStand]] | None, timeout_s: float
) -> AsyncIterator[Stand]:
    """A publisher on a broker where all is well."""
    if server is None:
        yield ScriptedStand(timeout_s)
    else:
        async with server(timeout_s) as real:
            yield real


impatient = pytest.mark.parametrize("timeout_s", [IMPATIENCE_S], ids=["impatient"])


def good(count: int, first: int = 1) -> Batch:
    """So many good messages."""
    return dict.fromkeys(range(first, first + count), GOOD)


async def publish(stand: Stand, batch: Batch) -> dict[int, Outcome]:
    """Publish; the outcomes, of which each row has exactly one."""
    return await publish_whole(stand.publisher, stand.envelopes(batch))


async def words(stand: Stand, batch: Batch) -> dict[int, str]:
    """Publish; the outcomes in a word."""
    return {row_id: word(outcome) for row_id, outcome in (await publish(stand, batch)).items()}


async def two_lanes(stand: Stand) -> None:
    """Publish twice at once, so that there is room for two batches before answers are held."""
    await asyncio.gather(*(publish_whole(stand.publisher, stand.envelopes(good(1))) for _ in range(2)))
    assert await stand.arrived() == Counter({1: 2})


# -- what becomes of a message ----------------------------------------------------------------------------------


async def test_confirmed_messages_have_arrived_once(stand: Stand) -> None:
    assert await publish(stand, good(100)) == dict.fromkeys(range(1, 101), Confirmed())
    assert await stand.arrived() == Counter(range(1, 101))


async def test_each_message_has_the_outcome_that_is_its_own(stand: Stand) -> None:
    batch = {1: GOOD, 2: UNROUTABLE, 3: REJECTED, 4: GOOD, 5: NO_EXCHANGE, 6: INVALID, 7: UNROUTABLE, 8: GOOD}
    for _ in range(2):
        assert await words(stand, batch) == {
            1: "confirmed",
            2: "unroutable",
            3: "rejected",
            4: "confirmed",
            5: "no_exchange",
            6: "invalid",
            7: "unroutable",
            8: "confirmed",
        }
        assert await stand.arrived() == Counter([1, 4, 8])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (UNROUTABLE, Refusal.UNROUTABLE),
        (REJECTED, Refusal.REJECTED),
        (NO_EXCHANGE, Refusal.NO_EXCHANGE),
        (INVALID, Refusal.INVALID),
        (CLOSES_CHANNEL, Refusal.BLAMED),
    ],
)
async def test_a_message_that_fails_alone_is_to_blame_and_the_next_one_is_not(
    stand: Stand, kind: Kind, reason: Refusal
) -> None:
    outcome = (await publish(stand, {1: kind}))[1]
    assert isinstance(outcome, Refused)
    assert outcome.reason is reason
    assert outcome.detail
    assert await stand.publisher.ready() is None
    assert await words(stand, good(3)) == {1: "confirmed", 2: "confirmed", 3: "confirmed"}
    assert await stand.arrived() == Counter([1, 2, 3])


async def test_a_message_that_closes_the_connection_alone_is_to_blame(stand: Stand) -> None:
    """The real publisher asks a second time, on a connection of its own, where it knows better what is wrong."""
    await stand.arm()
    outcome = (await publish(stand, {1: CLOSES_CONNECTION}))[1]
    assert isinstance(outcome, Refused)
    assert outcome.reason in {Refusal.BLAMED, Refusal.INVALID}
    assert await stand.publisher.ready() is None
    assert await words(stand, good(1)) == {1: "confirmed"}


async def test_an_empty_batch_has_no_answers(stand: Stand) -> None:
    assert await publish(stand, {}) == {}


async def test_a_row_twice_in_a_batch_is_our_own_fault(stand: Stand) -> None:
    (once,) = stand.envelopes(good(1))
    with pytest.raises(AssertionError, match="twice"):
        await publish_whole(stand.publisher, [once, once])


async def test_two_batches_at_once_are_answered_each_for_itself(stand: Stand) -> None:
    batch = good(100) | {51: UNROUTABLE}
    first, second = stand.envelopes(batch)[:50], stand.envelopes(batch)[50:]
    here, there = await asyncio.gather(publish_whole(stand.publisher, first), publish_whole(stand.publisher, second))
    assert sorted(here) == list(range(1, 51))
    assert sorted(there) == list(range(51, 101))
    assert word(there.pop(51)) == "unroutable"
    assert {word(outcome) for outcome in (*here.values(), *there.values())} == {"confirmed"}


# -- a channel or a connection that is closed because of a message ----------------------------------------------


async def test_a_closed_channel_leaves_whom_it_cannot_name_unknown(stand: Stand) -> None:
    outcomes = await words(stand, {1: GOOD, 2: CLOSES_CHANNEL, 3: GOOD, 4: GOOD})
    assert outcomes.pop(1) in {"confirmed", "unknown"}
    assert outcomes == {2: "unknown", 3: "unknown", 4: "unknown"}
    assert (await stand.arrived()).keys() <= {1}, "what came behind is thrown away"
    assert await stand.publisher.ready() is None
    assert await words(stand, good(4)) == dict.fromkeys((1, 2, 3, 4), "confirmed")


async def test_a_closed_channel_harms_no_other_batch(stand: Stand) -> None:
    batch = good(100) | {101: CLOSES_CHANNEL, 102: GOOD}
    envelopes = stand.envelopes(batch)
    for _ in range(3):
        calm, poisoned = await asyncio.gather(
            publish_whole(stand.publisher, envelopes[:100]), publish_whole(stand.publisher, envelopes[100:])
        )
        assert calm == dict.fromkeys(range(1, 101), Confirmed())
        assert [word(poisoned[row_id]) for row_id in (101, 102)] == ["unknown", "unknown"]


async def test_a_closed_connection_leaves_all_that_is_in_flight_unknown(stand: Stand) -> None:
    await stand.arm()
    outcomes = await publish(stand, {1: CLOSES_CONNECTION, 2: GOOD})
    assert all(isinstance(outcome, Unknown) and outcome.detail for outcome in outcomes.values())
    assert await stand.arrived() == Counter()
    assert await stand.publisher.ready() is None
    assert await words(stand, good(2)) == {1: "confirmed", 2: "confirmed"}


async def test_a_closed_connection_blames_nobody_in_a_batch_not_even_the_last_one_in_flight(stand: Stand) -> None:
    await stand.arm()
    outcomes = await words(stand, {1: GOOD, 2: CLOSES_CONNECTION})
    assert outcomes[1] in {"confirmed", "unknown"}
    assert outcomes[2] == "unknown"


async def test_a_connection_closed_by_another_batch_blames_no_bystander(stand: Stand) -> None:
    await two_lanes(stand)
    await stand.arm()
    envelopes = stand.envelopes(good(5) | {6: CLOSES_CONNECTION, 7: GOOD})
    await stand.hold()
    bystanders = asyncio.create_task(publish_whole(stand.publisher, envelopes[:5]))
    await stand.in_flight(5)
    guilty = asyncio.create_task(publish_whole(stand.publisher, envelopes[5:]))
    await asyncio.wait({guilty}, timeout=2 * FLUSH_S)
    await stand.let_go()
    assert {word(outcome) for outcome in (await guilty).values()} == {"unknown"}
    assert {word(outcome) for outcome in (await bystanders).values()} <= {"unknown", "confirmed"}


# -- a broker that is gone --------------------------------------------------------------------------------------


async def test_a_lost_connection_blames_nobody_and_all_in_flight_may_have_arrived(stand: Stand) -> None:
    await two_lanes(stand)
    batches = stand.envelopes(good(20))
    await stand.hold()
    flights = [asyncio.create_task(publish_whole(stand.publisher, part)) for part in (batches[:10], batches[10:])]
    await stand.in_flight(20)
    await stand.lose()
    outcomes = [outcome for flight in flights for outcome in (await flight).values()]
    assert len(outcomes) == 20
    for outcome in outcomes:
        assert isinstance(outcome, Unreachable)
        assert (outcome.fault, outcome.written) == (Fault.LOST, True)
        assert outcome.detail
    assert (await stand.arrived()).keys() == set(range(1, 21))
    await stand.let_go()
    assert await stand.publisher.ready() is None
    assert await words(stand, good(2)) == {1: "confirmed", 2: "confirmed"}


async def test_one_message_on_a_lost_connection_is_not_to_blame_either(stand: Stand) -> None:
    await stand.hold()
    flight = asyncio.create_task(publish(stand, good(1)))
    await stand.in_flight(1)
    await stand.lose()
    outcome = (await flight)[1]
    assert isinstance(outcome, Unreachable)
    assert (outcome.fault, outcome.written) == (Fault.LOST, True)


async def test_what_is_in_flight_when_a_broker_falls_is_lost_and_only_who_connects_learns_why(stand: Stand) -> None:
    await stand.hold()
    flight = asyncio.create_task(publish(stand, good(1)))
    await stand.in_flight(1)
    await stand.fall(Fault.REFUSED)
    outcome = (await flight)[1]
    assert isinstance(outcome, Unreachable)
    assert (outcome.fault, outcome.written) == (Fault.LOST, True)
    told = await stand.publisher.ready()
    assert told is not None
    assert told.fault is Fault.REFUSED


@impatient
@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.TIMEOUT])
async def test_without_a_broker_it_is_said_why_and_nothing_was_written(stand: Stand, fault: Fault) -> None:
    assert await stand.publisher.ready() is None
    await stand.fall(fault)

    async def told() -> Unreachable | None:
        return await stand.publisher.ready()

    first = await told()
    assert first is not None, "the end of an idle connection is noticed"
    for lost in (first, await told(), *(await publish(stand, good(3))).values()):
        assert isinstance(lost, Unreachable)
        assert (lost.fault, lost.written) == (fault, False)
        assert lost.detail
    await stand.rise()
    assert await told() is None
    assert await words(stand, good(1)) == {1: "confirmed"}
    assert await stand.arrived() == Counter([1])


async def test_a_publisher_connects_by_itself_when_it_is_not_asked_first(stand: Stand) -> None:
    assert await words(stand, good(2)) == {1: "confirmed", 2: "confirmed"}
    await stand.lose()
    assert await words(stand, good(2)) == {1: "confirmed", 2: "confirmed"}


# -- a broker that is silent ------------------------------------------------------------------------------------


@impatient
async def test_a_broker_that_never_confirms_is_given_up_after_the_timeout(stand: Stand) -> None:
    await stand.hold()
    began = asyncio.get_running_loop().time()
    outcomes = await publish(stand, good(5))
    took_s = asyncio.get_running_loop().time() - began
    assert sorted(outcomes) == [1, 2, 3, 4, 5]
    for outcome in outcomes.values():
        assert isinstance(outcome, Unreachable)
        assert (outcome.fault, outcome.written) == (Fault.TIMEOUT, True)
    assert IMPATIENCE_S <= took_s < 10 * IMPATIENCE_S
    await stand.let_go()
    assert await stand.publisher.ready() is None
    assert await words(stand, good(2)) == {1: "confirmed", 2: "confirmed"}


@impatient
async def test_while_nothing_comes_the_caller_has_the_word_again_and_again(stand: Stand) -> None:
    """To renew its lease."""
    loop = asyncio.get_running_loop()
    await stand.hold()
    pauses: list[float] = []
    answers: list[Answer] = []
    before = loop.time()
    async with aclosing(stand.publisher.publish(stand.envelopes(good(5)))) as flight:
        async for some in flight:
            pauses.append(loop.time() - before)
            answers += some
            before = loop.time()
    assert len(answers) == 5
    assert len(pauses) >= IMPATIENCE_S / FLUSH_S / 2
    assert sorted(pauses)[len(pauses) // 2] <= 1.5 * FLUSH_S
    await stand.let_go()


async def test_answers_come_late_and_are_still_answers(stand: Stand) -> None:
    await stand.hold()
    flight = asyncio.create_task(publish(stand, good(5) | {3: UNROUTABLE}))
    await stand.in_flight(4)
    assert not flight.done()
    await stand.let_go()
    outcomes = {row_id: word(outcome) for row_id, outcome in (await flight).items()}
    assert outcomes == {1: "confirmed", 2: "confirmed", 3: "unroutable", 4: "confirmed", 5: "confirmed"}


# -- giving up --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manner", ["cancelled", "closed early"])
async def test_a_publish_that_was_given_up_leaves_the_publisher_of_use(stand: Stand, manner: str) -> None:
    """Whatever the broker says later about the messages of the first is no answer to the second."""
    await stand.hold()
    if manner == "cancelled":
        task = asyncio.create_task(publish(stand, good(10)))
        await stand.in_flight(10)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
    else:
        flight = stand.publisher.publish(stand.envelopes(good(10)))
        await anext(flight)
        await stand.in_flight(10)
        await flight.aclose()
    await stand.let_go()
    assert await words(stand, {1: UNROUTABLE, 2: GOOD, 3: REJECTED}) == {1: "unroutable", 2: "confirmed", 3: "rejected"}
    assert (await stand.arrived())[2] == 2


# -- a broker without room --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alarmed() -> Iterator[OwnRabbitMQ]:
    """A broker to alarm."""
    broker = find.own_rabbitmq()
    yield broker
    broker.close()


@pytest.fixture(params=["double", "rabbitmq"])
def blockable(request: pytest.FixtureRequest) -> tuple[OwnRabbitMQ, Any] | None:
    """A broker to alarm and the maker of proxies; None for the double."""
    if request.param == "double":
        return None
    return request.getfixturevalue("alarmed"), request.getfixturevalue("proxy")


@pytest.fixture
async def full(blockable: tuple[OwnRabbitMQ, Any] | None) -> AsyncIterator[ScriptedStand | AlarmedStand]:
    """A stand whose broker can run out of room."""
    if blockable is None:
        yield ScriptedStand()
        return
    broker, proxy = blockable
    amqp = Amqp(broker.url(), "/")
    async with on_rabbit(amqp, proxy) as stand:
        yield AlarmedStand(stand.publisher, amqp, stand._between, broker)
    await amqp.close(remove=True)


@pytest.mark.timeout(120)
async def test_a_blocked_broker_says_so_to_who_publishes_and_to_nobody_else(
    full: ScriptedStand | AlarmedStand,
) -> None:
    """A connection proves nothing: only a message does, and it may arrive."""
    assert await words(full, good(1)) == {1: "confirmed"}
    assert await full.arrived() == Counter([1])
    await full.block()
    try:
        for _ in range(3):
            async with asyncio.timeout(BLOCK_S):
                outcomes = await publish(full, good(3))
            for outcome in outcomes.values():
                assert isinstance(outcome, Unreachable)
                assert (outcome.fault, outcome.written) == (Fault.BLOCKED, True)
                assert outcome.detail
            assert await full.publisher.ready() is None
    finally:
        await full.unblock()
    assert await words(full, good(3)) == {1: "confirmed", 2: "confirmed", 3: "confirmed"}
    arrived = await full.arrived()
    assert arrived.keys() == {1, 2, 3}
    assert max(arrived.values()) <= 4
