"""A broker that goes away in every manner: nothing is lost, nothing innocent is blamed, and it is used again."""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from relay.broker import BrokerConfig, RabbitPublisher
from relay.broker.channel import ConfirmChannel
from relay.broker.connection import connect
from relay.broker.flight import fly
from relay.broker.link import Link
from relay.broker.wire import encode
from relay.model import Confirmed, Fault, Outcome, Unknown, Unreachable
from services import find
from services.find import OwnRabbitMQ
from services.process import free_port
from services.proxy import Proxy
from tests.builders import Amqp, eventually
from tests.publishing import envelope, envelopes, publish, publishing, tally, word

MakeProxy = Callable[[str, int], Awaitable[Proxy]]
BODY_BYTES_MAX = 20_000_000


@pytest.fixture(scope="module")
def broker() -> Iterator[OwnRabbitMQ]:
    """A broker to break; each test leaves it whole."""
    made = find.own_rabbitmq(config=[f"max_message_size = {BODY_BYTES_MAX}"])
    yield made
    made.close()


async def publish_until_lost(publisher: RabbitPublisher, *, size: int = 200) -> dict[int, Outcome]:
    """Publish batch after batch until one cannot be confirmed whole; what became of every row."""
    outcomes: dict[int, Outcome] = {}
    for first in itertools.count(1, size):
        batch = [envelope(number) for number in range(first, first + size)]
        outcomes |= (last := await publish(publisher, batch))
        if set(map(word, last.values())) != {"confirmed"}:
            return outcomes
    raise AssertionError


async def nothing_is_lost(part: Amqp, publisher: RabbitPublisher, outcomes: dict[int, Outcome]) -> None:
    """What was confirmed is in the queue; what was not, blames the broker and can be published now."""

    async def ready() -> None:
        assert await publisher.ready() is None

    await eventually(ready, 30)
    unresolved = [number for number, outcome in outcomes.items() if not isinstance(outcome, Confirmed)]
    assert {word(outcomes[number]) for number in unresolved} <= {"unreachable"}
    assert tally(await publish(publisher, [envelope(number) for number in unresolved])) == {
        "confirmed": len(unresolved)
    }
    arrived = {(message.headers or {})["x-outbox-id"] for message in await part.drain("all", len(outcomes), 30)}
    assert arrived == set(outcomes)


def faults(outcomes: dict[int, Outcome]) -> set[tuple[Fault, bool]]:
    """The faults told, and whether what they met was written."""
    return {(told.fault, told.written) for told in outcomes.values() if isinstance(told, Unreachable)}


# -- the broker ends --------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_broker_that_ends_in_the_midst_blames_no_row(broker: OwnRabbitMQ, part: Amqp, end: str) -> None:
    await asyncio.to_thread(broker.remember)
    async with publishing(part.url) as publisher:
        flight = asyncio.create_task(publish_until_lost(publisher))
        await eventually(lambda: publisher.connected)
        await asyncio.to_thread(getattr(broker, end))
        outcomes = await flight
        assert faults(outcomes) <= {(Fault.LOST, True), (Fault.LOST, False), (Fault.REFUSED, False)}
        assert faults(outcomes)
        assert not publisher.connected
        refused = await publisher.ready()
        assert refused is not None
        assert (refused.fault, refused.written) == (Fault.REFUSED, False)
        await asyncio.to_thread(broker.start)
        await nothing_is_lost(part, publisher, outcomes)


@pytest.mark.timeout(120)
async def test_an_application_that_stops_and_starts_blames_no_row(broker: OwnRabbitMQ, part: Amqp) -> None:
    async with publishing(part.url) as publisher:
        flight = asyncio.create_task(publish_until_lost(publisher))
        await eventually(lambda: publisher.connected)
        await asyncio.to_thread(broker.ctl, "stop_app")
        outcomes = await flight
        assert {fault for fault, _ in faults(outcomes)} <= {Fault.LOST, Fault.REFUSED}
        await asyncio.to_thread(broker.ctl, "start_app")
        await nothing_is_lost(part, publisher, outcomes)


async def test_a_connection_closed_by_an_operator_blames_no_row(broker: OwnRabbitMQ, part: Amqp) -> None:
    async with publishing(part.url) as publisher:
        flight = asyncio.create_task(publish_until_lost(publisher))
        await eventually(lambda: publisher.connected)
        await asyncio.to_thread(broker.ctl, "close_all_connections", "--global", "maintenance")
        outcomes = await flight
        (told, *_) = (outcome for outcome in outcomes.values() if isinstance(outcome, Unreachable))
        assert told.fault is Fault.LOST
        assert "320" in told.detail
        assert "maintenance" in told.detail
        await nothing_is_lost(part, publisher, outcomes)


# -- the broker falls silent ------------------------------------------------------------------------------------


async def test_a_frozen_broker_is_given_up_after_three_heartbeats(broker: OwnRabbitMQ, part: Amqp) -> None:
    """The library ends its calls with CancelledError then; for us that is an outage like another."""
    async with publishing(part.url, heartbeat_s=1, connect_timeout_s=1.0) as publisher:
        assert await publisher.ready() is None
        broker.pause()
        try:
            outcomes = await publish(publisher, envelopes(50))
            assert faults(outcomes) == {(Fault.LOST, True)}
            frozen = await publisher.ready()
            assert frozen is not None
            assert frozen.fault is Fault.TIMEOUT
        finally:
            broker.resume()
        await nothing_is_lost(part, publisher, outcomes)


async def test_a_silent_broker_is_given_up_after_the_confirm_timeout(part: Amqp, proxy: MakeProxy) -> None:
    between = await proxy(*address(part.url))
    async with publishing(between.url(part.url), confirm_timeout_s=0.5, connect_timeout_s=0.5) as publisher:
        assert tally(await publish(publisher, envelopes(10))) == {"confirmed": 10}
        between.blackhole()
        outcomes = await publish(publisher, envelopes(10))
        assert faults(outcomes) == {(Fault.TIMEOUT, True)}
        assert not publisher.connected
        silent = await publisher.ready()
        assert silent is not None
        assert silent.fault is Fault.TIMEOUT
        await between.pass_all()
        await nothing_is_lost(part, publisher, outcomes)


async def test_what_the_socket_did_not_take_cannot_have_arrived(part: Amqp, proxy: MakeProxy) -> None:
    between = await proxy(*address(part.url))
    async with publishing(between.url(part.url), confirm_timeout_s=1.0) as publisher:
        assert await publisher.ready() is None
        between.hold("up")
        batch = envelopes(40, body=b"x" * 2**20)
        rounds, answers = 0, dict[int, Outcome]()
        async for some in publisher.publish(batch):
            rounds += 1
            answers |= {answer.row_id: answer.outcome for answer in some}
        assert faults(answers) == {(Fault.TIMEOUT, True), (Fault.TIMEOUT, False)}
        assert len(answers) == 40
        assert rounds >= 10, "the caller must be able to renew its lease meanwhile"


async def test_bytes_on_their_way_are_seen_to_move(part: Amqp, proxy: MakeProxy) -> None:
    """A large message may take longer than the confirm timeout on a slow line: it moves, so it is no silence."""
    between = await proxy(*address(part.url))
    async with publishing(between.url(part.url)) as publisher:
        assert await publisher.ready() is None
        between.hold("up")
        flight = asyncio.create_task(publish(publisher, envelopes(1, body=b"x" * (BODY_BYTES_MAX - 1))))
        link = publisher._link
        assert link is not None
        await eventually(lambda: link.unsent > 1_000_000)
        await between.pass_all()
        assert tally(await flight) == {"confirmed": 1}
        assert link.unsent == 0


async def test_a_reset_connection_blames_no_row(part: Amqp, proxy: MakeProxy) -> None:
    """The acks are cut off, so every message has arrived and none is confirmed: all may be duplicates."""
    between = await proxy(*address(part.url))
    async with publishing(between.url(part.url)) as publisher:
        assert await publisher.ready() is None
        between.hold("down")
        flight = asyncio.create_task(publish(publisher, envelopes(50)))

        async def arrived() -> None:
            assert await part.count("all") == 50

        await eventually(arrived)
        between.reset_all()
        outcomes = await flight
        assert faults(outcomes) == {(Fault.LOST, True)}
        await between.pass_all()
        await nothing_is_lost(part, publisher, outcomes)


async def test_a_connection_cut_after_any_number_of_bytes_loses_nothing(part: Amqp, proxy: MakeProxy) -> None:
    between = await proxy(*address(part.url))
    chance = random.Random(7)
    waiting, arrived = set(range(1, 401)), set[int]()
    async with publishing(between.url(part.url), connect_timeout_s=2.0) as publisher:
        for _ in range(12):
            between.cut_after(chance.randrange(1, 120_000), chance.choice(["up", "down"]))
            batch = [envelope(number, body=b"x" * 400) for number in sorted(waiting)]
            outcomes = await publish(publisher, batch)
            assert set(map(word, outcomes.values())) <= {"confirmed", "unreachable"}
            waiting -= {number for number, outcome in outcomes.items() if isinstance(outcome, Confirmed)}
            arrived |= {int(str((each.headers or {})["x-outbox-id"])) for each in await part.drain("all")}
            assert set(range(1, 401)) - waiting <= arrived, "confirmed, and not in the queue"
        await between.pass_all()
        rest = await publish(publisher, [envelope(number) for number in waiting])
        assert set(map(word, rest.values())) <= {"confirmed"}


# -- the broker has no room -------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
async def test_a_memory_alarm_is_told_at_once_and_blames_no_row(broker: OwnRabbitMQ, part: Amqp) -> None:
    async with publishing(part.url) as publisher:
        assert tally(await publish(publisher, envelopes(10))) == {"confirmed": 10}
        await asyncio.to_thread(broker.alarm, on=True)
        try:
            async with asyncio.timeout(2):
                outcomes = await publish(publisher, envelopes(10))
            assert faults(outcomes) == {(Fault.BLOCKED, True)}
            assert "memory" in {o.detail.rpartition(" ")[2] for o in outcomes.values() if isinstance(o, Unreachable)}
            assert publisher.blocked
            assert not publisher.connected
            assert await publisher.ready() is None, "a new connection proves nothing about the alarm"
            assert publisher.blocked
        finally:
            await asyncio.to_thread(broker.alarm, on=False)
        await nothing_is_lost(part, publisher, outcomes)
        assert not publisher.blocked


async def test_a_block_that_met_no_publish_is_told_once(part: Amqp) -> None:
    async with publishing(part.url) as publisher:
        assert await publisher.ready() is None
        assert publisher._link is not None
        publisher._link._on_blocked("low on disk")
        assert publisher.blocked
        told = await publisher.ready()
        assert told == Unreachable(Fault.BLOCKED, "the broker blocks publishers: low on disk", written=False)
        assert await publisher.ready() is None
        assert tally(await publish(publisher, envelopes(1))) == {"confirmed": 1}
        assert not publisher.blocked


async def test_a_body_over_the_brokers_limit_is_blamed_alone(part: Amqp) -> None:
    async with publishing(part.url) as publisher:
        batch = [*envelopes(50), envelope(51, body=b"x" * (BODY_BYTES_MAX + 1)), envelope(52)]
        outcomes = await publish(publisher, batch)
        assert isinstance(outcomes[51], Unknown)
        for each in batch:
            if isinstance(outcomes[each.row_id], Unknown):
                outcomes |= await publish(publisher, [each])
        assert word(outcomes.pop(51)) == "blamed"
        assert tally(outcomes) == {"confirmed": 51}


async def test_a_connection_closed_with_a_verdict_blames_nobody_that_shares_it(part: Amqp, proxy: MakeProxy) -> None:
    """Two lanes share the connection; a frame over the limit of one closes it for both."""
    between = await proxy(*address(part.url))
    poison = envelope(1, headers={"pad": "x" * 200_000})
    others = [envelope(number) for number in range(2, 52)]
    async with publishing(between.url(part.url)) as publisher:
        assert await publisher.ready() is None
        assert publisher._link is not None
        publisher._link.frame_max = 2**20  # as if the encoder had let it pass
        between.hold("up")
        first = asyncio.create_task(publish(publisher, [poison, envelope(100)]))
        await asyncio.sleep(0)
        lane = asyncio.create_task(publish(publisher, others))
        await eventually(lambda: between.passed["up"] > 0)
        await between.pass_all()
        assert {*tally(await first)} == {"unknown"}
        assert {*tally(await lane)} <= {"unknown", "confirmed"}


async def test_a_message_that_costs_its_private_connection_is_blamed(part: Amqp) -> None:
    link = await connect(BrokerConfig(url=lambda: part.url, name="private"), private=True)
    assert isinstance(link, Link)
    channel = await link.channel()
    assert isinstance(channel, ConfirmChannel)
    data = encode(envelope(1, headers={"pad": "x" * 200_000}), channel.number, 2**20)
    assert isinstance(data, bytes)
    outcomes: dict[int, Outcome] = {}
    async for answers in fly(link, channel, deque([(1, data)]), confirm_timeout_s=5):
        outcomes |= {answer.row_id: answer.outcome for answer in answers}
    assert word(outcomes[1]) == "blamed"
    await link.close(1)


async def test_one_message_beside_a_busy_lane_is_judged_on_a_connection_of_its_own(
    part: Amqp, proxy: MakeProxy
) -> None:
    between = await proxy(*address(part.url))
    async with publishing(between.url(part.url)) as publisher:
        lanes = await asyncio.gather(*(publish(publisher, envelopes(20)) for _ in range(2)))
        assert [tally(each) for each in lanes] == [{"confirmed": 20}] * 2
        link = publisher._link
        assert link is not None
        link.frame_max = 2**20
        between.hold("up")
        alone = asyncio.create_task(publish(publisher, [envelope(1, headers={"pad": "x" * 200_000})]))
        await eventually(lambda: len(link._free) == 1)
        lane = asyncio.create_task(publish(publisher, [envelope(number) for number in range(2, 52)]))
        await eventually(lambda: not link._free)
        await between.pass_all()
        assert {*tally(await lane)} <= {"unknown", "confirmed"}
        # Its own connection knows the true limit, so the answer blames the row, whatever travelled beside it.
        assert word((await alone)[1]) == "invalid"


# -- the broker refuses -----------------------------------------------------------------------------------------


async def test_a_changed_password_is_an_outage_until_the_new_one_is_read(broker: OwnRabbitMQ, part: Amqp) -> None:
    user, passwords = f"rotating-{part.vhost}", ["old-secret"]
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    await asyncio.to_thread(broker.add_user, user, passwords[-1], vhost=part.vhost, **rights)
    async with publishing(lambda: broker.url(part.vhost, user, passwords[-1])) as publisher:
        assert tally(await publish(publisher, envelopes(5))) == {"confirmed": 5}
        await asyncio.to_thread(broker.add_user, user, "new-secret", vhost=part.vhost, **rights)
        assert tally(await publish(publisher, envelopes(5))) == {"confirmed": 5}, "open connections are not asked again"
        await asyncio.to_thread(broker.ctl, "close_all_connections", "--global", "rotation")

        async def refused() -> None:
            told = await publisher.ready()
            assert told is not None
            assert told.fault is Fault.AUTH
            assert "secret" not in told.detail

        await eventually(refused)
        passwords.append("new-secret")
        assert await publisher.ready() is None
    await asyncio.to_thread(broker.delete_user, user)


async def test_a_revoked_permission_forbids_the_row(broker: OwnRabbitMQ, part: Amqp) -> None:
    user = f"revoked-{part.vhost}"
    await part.queue("bound", "orders")
    await asyncio.to_thread(broker.add_user, user, "secret", vhost=part.vhost, configure="", write=".*", read="")
    async with publishing(broker.url(part.vhost, user, "secret"), exchange_ttl_s=0.0) as publisher:
        assert tally(await publish(publisher, envelopes(5, exchange="orders"))) == {"confirmed": 5}
        await asyncio.to_thread(broker.add_user, user, "secret", vhost=part.vhost, configure="", write="", read="")
        await asyncio.to_thread(broker.ctl, "close_all_connections", "--global", "a new connection asks again")

        async def forbidden() -> None:
            assert tally(await publish(publisher, envelopes(1, exchange="orders"))) == {"forbidden": 1}

        await eventually(forbidden)
    await asyncio.to_thread(broker.delete_user, user)


async def test_a_limit_of_the_vhost_is_told_as_one(broker: OwnRabbitMQ, part: Amqp) -> None:
    await part.close(remove=False)
    await asyncio.to_thread(broker.ctl, "set_vhost_limits", "-p", part.vhost, '{"max-connections": 0}')
    async with publishing(part.url) as publisher:
        told = await publisher.ready()
        assert told is not None
        assert told.fault is Fault.LIMIT
        assert "limit" in told.detail
    await asyncio.to_thread(broker.ctl, "clear_vhost_limits", "-p", part.vhost)


async def test_what_is_in_the_way_of_a_connection_is_said(broker: OwnRabbitMQ, part: Amqp) -> None:
    user = f"nobody-{part.vhost}"
    await asyncio.to_thread(broker.add_user, user, "secret", vhost=part.vhost, configure="", write="", read="")
    nowhere = free_port()
    for url, fault, detail in (
        (broker.url("no-such-vhost"), Fault.REFUSED, "vhost no-such-vhost not found"),
        (broker.url("/", user, "secret"), Fault.AUTH, "access to vhost '/' refused for user"),
        (broker.url(part.vhost, user, "wr0ng"), Fault.AUTH, "403 ACCESS_REFUSED - Login was refused"),
        (f"amqp://guest:secret@127.0.0.1:{nowhere}/", Fault.REFUSED, f"127.0.0.1:{nowhere}: connection refused"),
        (f"amqp://guest:secret@localhost:{nowhere}/", Fault.REFUSED, "connection refused"),
        ("amqp://guest:secret@broker.invalid/", Fault.UNREACHABLE, "broker.invalid:5672: the host name cannot"),
        (f"amqps://guest:secret@127.0.0.1:{address(part.url)[1]}/", Fault.TLS, ""),
        ("http://guest:secret@127.0.0.1/", Fault.OTHER, "must begin with amqp:// or amqps://"),
        ("amqp://guest:secret@127.0.0.1:port/", Fault.OTHER, "the broker's URL cannot be used"),
        ("amqp:///", Fault.OTHER, "name a host"),
    ):
        async with publishing(url, connect_timeout_s=5.0) as publisher:
            told = await publisher.ready()
            assert told is not None, url
            assert (told.fault, told.written) == (fault, False), told
            assert detail in told.detail
            assert "secret" not in told.detail
            assert "wr0ng" not in told.detail
            assert tally(await publish(publisher, envelopes(3))) == {"unreachable": 3}
            asked = await publisher.check_exchange("orders")
            assert isinstance(asked, Unreachable)
            assert asked.fault is fault
    await asyncio.to_thread(broker.delete_user, user)


async def test_a_secret_file_that_is_gone_is_an_outage() -> None:
    def gone() -> str:
        return Path("/nonexistent/amqp-url").read_text()

    async with publishing(gone) as publisher:
        told = await publisher.ready()
        assert told is not None
        assert told.fault is Fault.OTHER
        assert "/nonexistent/amqp-url" in told.detail


async def test_a_probe_connection_that_cannot_be_had_does_not_stop_the_relay(broker: OwnRabbitMQ, part: Amqp) -> None:
    """Then an exchange is believed to exist, and a publish to a missing one is judged by the broker."""
    await part.close(remove=False)
    await asyncio.to_thread(broker.ctl, "set_vhost_limits", "-p", part.vhost, '{"max-connections": 1}')
    try:
        async with publishing(part.url) as publisher:
            assert tally(await publish(publisher, [envelope(1, exchange="missing")])) == {"no_exchange": 1}
            assert tally(await publish(publisher, [envelope(1, exchange="missing"), envelope(2)])) == {
                "no_exchange": 1,
                "confirmed": 1,
            }
    finally:
        await asyncio.to_thread(broker.ctl, "clear_vhost_limits", "-p", part.vhost)


async def test_the_broker_is_told_who_we_are(broker: OwnRabbitMQ, part: Amqp) -> None:
    async with publishing(part.url, name="orders relay 7") as publisher:
        assert await publisher.ready() is None
        assert publisher.latency_s is not None
        assert 0 < publisher.latency_s < 5
        told = await asyncio.to_thread(broker.ctl, "list_connections", "client_properties", "timeout")
        (line,) = (line for line in told.splitlines() if "orders relay 7" in line)
        assert "outbox-relay" in line
        assert line.endswith("10")


def address(url: str) -> tuple[str, int]:
    """Host and port of an AMQP URL."""
    host, _, port = url.partition("@")[2].partition("/")[0].partition(":")
    return host, int(port)
