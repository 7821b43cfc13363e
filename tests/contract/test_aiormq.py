"""What the broker side leans on in aiormq and pamqp, private names included, against a real broker.

Red here after an upgrade means: read the library's change before touching `relay/broker`.
"""

import asyncio
import inspect
from importlib.metadata import version
from typing import Any

import aiormq
import pytest
from aiormq.channel import Channel
from aiormq.connection import EXCEPTION_MAPPING, Connection, FrameReceiver
from aiormq.exceptions import ChannelNotFoundEntity, ConnectionClosed, ConnectionFrameError
from pamqp import commands as spec

from relay.broker import BrokerConfig
from relay.broker.channel import ConfirmChannel
from relay.broker.classify import Loss, Verdict
from relay.broker.connection import connect
from relay.broker.link import Link
from relay.broker.wire import encode
from relay.model import Fault, HeaderValue
from services.broker import Broker
from services.proxy import Proxy
from tests.builders import Amqp, eventually
from tests.contract.frames import linked, recorder, write
from tests.publishing import envelope, publish, publishing, tally

PRIVATE_NAMES: dict[type, tuple[str, ...]] = {
    Connection: (
        "_Connection__handle_connection_blocked",
        "_Connection__handle_close",
        "_Connection__reader",
        "_Connection__writer",
        "_credentials_class",
        "_on_reader_done",
        "_rpc",
    ),
    Channel: ("_get_frame", "_on_close_frame", "_reader"),
}


# -- names and signatures ---------------------------------------------------------------------------------------


def test_the_library_is_of_the_minor_version_that_was_tried() -> None:
    """Hence the bound in pyproject.toml: its channel may change with any minor version."""
    assert version("aiormq").startswith("7.2.")
    assert version("pamqp").startswith("4.")


@pytest.mark.parametrize("owner", PRIVATE_NAMES)
def test_the_private_names_are_there(owner: type) -> None:
    """Hence `link.py` and `channel.py` may stand in for them; there is no public way to be told of these things."""
    assert [name for name in PRIVATE_NAMES[owner] if not hasattr(owner, name)] == []


def test_the_private_methods_that_ours_stand_in_for_are_called_the_same_way() -> None:
    """Hence ours have the same signatures."""
    assert list(inspect.signature(Connection._rpc).parameters) == [
        "request",
        "writer",
        "frame_receiver",
        "wait_response",
    ]
    assert list(inspect.signature(Connection._credentials_class).parameters) == ["self", "start_frame"]
    blocked = getattr(Connection, "_Connection__handle_connection_blocked")  # noqa: B009 - mypy knows no such name
    assert list(inspect.signature(blocked).parameters) == ["self", "frame"]
    assert inspect.iscoroutinefunction(blocked)
    assert inspect.iscoroutinefunction(FrameReceiver.get_frame)


def test_the_codes_of_a_closed_connection_are_mapped_to_classes_with_the_text_alone() -> None:
    """Hence `classify.py` reads the code from the class where there is one."""
    assert {501, 502, 503, 504, 505, 506, 530, 540, 541} == set(EXCEPTION_MAPPING)
    error = aiormq.connection.exception_by_code(spec.Connection.Close(501, "FRAME_ERROR", 0, 0))
    assert isinstance(error, ConnectionFrameError)
    assert error.args == ("FRAME_ERROR",)
    general = aiormq.connection.exception_by_code(spec.Connection.Close(320, "CONNECTION_FORCED", 0, 0))
    assert type(general) is ConnectionClosed
    assert general.args == (320, "CONNECTION_FORCED")


# -- frames -----------------------------------------------------------------------------------------------------


async def test_every_frame_of_a_channel_goes_through_its_frames_queue(link: Link) -> None:
    """Hence `channel.py` resolves confirms in the `put` of that queue, in the order of the wire and without a task."""
    channel = await recorder(link)
    assert [frame.name for frame in channel.heard] == ["Channel.OpenOk", "Confirm.SelectOk"]
    write(link, channel, (1, "all"))
    await channel.settled(5)
    assert channel.names() == ["Basic.Ack"]


# -- ends -------------------------------------------------------------------------------------------------------


async def test_a_closed_channel_is_heard_before_the_library_answers(link: Link) -> None:
    """Hence `channel.py` notes the end there: what is written until then reaches the broker before CloseOk."""
    channel = await recorder(link)
    for _ in range(30):
        write(link, channel, *((number, "all") for number in range(1, 101)), exchange="missing")
        if channel.end is not None:
            break
        await asyncio.sleep(0)
    await channel.settled(5)
    assert isinstance(channel.end, Verdict)
    assert channel.end.code == 404
    other = await link.channel()
    assert isinstance(other, ConfirmChannel), "the connection lives"
    write(link, other, (1, "all"))
    await other.settled(5)
    assert other.in_flight == 0


async def test_a_call_on_a_channel_that_the_broker_closes_raises_by_its_code(link: Link) -> None:
    """Hence `exchanges.py` may ask with a passive declare: how the channel ended is known when the call raises."""
    channel = await link.channel()
    assert isinstance(channel, ConfirmChannel)
    with pytest.raises(ChannelNotFoundEntity):
        await channel.exchange_declare("missing", passive=True)
    assert channel.end == Verdict(404, f"404 {missing(link)}", alone=False)


def missing(link: Link) -> str:
    """What the broker says of the exchange `missing`."""
    return f"NOT_FOUND - no exchange 'missing' in vhost '{link._connection.vhost}'"


async def test_acks_that_came_before_an_end_are_heard(link: Link) -> None:
    """Hence an end makes no confirmed row doubtful: the reader hands on every frame that came before the close."""
    channel = await recorder(link)
    write(link, channel, *((number, "all") for number in range(1, 101)))
    immediate = spec.Basic.Publish(exchange="", routing_key="all", immediate=True)
    whole = encode(envelope(101), channel.number, link.frame_max)
    assert isinstance(whole, bytes)
    await eventually(lambda: channel.in_flight == 0)
    link.write(aiormq.abc.ChannelFrame.marshall(channel.number, [immediate]).payload)
    link.write(whole[whole.index(b"\xce") + 1 :])
    await link.ended(5)
    assert len(channel.take()) == 100


async def test_a_refused_vhost_keeps_the_brokers_words(rabbitmq: Broker) -> None:
    """Hence our own handshake: the library's says only that it expected another frame."""
    url = rabbitmq.url("no-such-vhost")
    told = await connect(BrokerConfig(url=lambda: url, name="contract"))
    assert isinstance(told, Loss)
    assert "530 NOT_ALLOWED - vhost no-such-vhost not found" in told.detail
    with pytest.raises(Exception, match=r"Expected one of \['Connection.OpenOk'\]"):
        await aiormq.connect(url)


async def test_a_stuck_connection_ends_its_reader_with_a_cancellation(rabbitmq: Broker, proxy: Any) -> None:
    """Hence `classify.py` takes the reader's CancelledError for a lost connection."""
    between: Proxy = await proxy(rabbitmq.host, rabbitmq.amqp_port)
    async with linked(between.url(rabbitmq.url()), heartbeat_s=1) as link:
        reader = link._connection._reader_task
        between.blackhole()
        await link.ended(20)
        assert reader.cancelled()
        assert isinstance(link.end, Loss)
        assert "silent for three heartbeats" in link.end.detail


async def test_writing_after_an_abort_does_nothing(link: Link) -> None:
    """Hence a lane that has not yet heard of the end may still write: its rows are unreachable, and nothing leaks."""
    channel = await link.channel()
    assert isinstance(channel, ConfirmChannel)
    link.abort(Loss(Fault.LOST, "the test"))
    assert link.closing
    write(link, channel, (1, "all"))
    assert not await link.drained(1)
    assert link.unsent == 0
    assert len(channel.take()) == 1


async def test_nothing_of_the_library_outlives_an_end(amqp: Amqp) -> None:
    """Hence a connection may be replaced as often as an outage needs."""
    await amqp.queue("all")
    before = asyncio.all_tasks()
    async with publishing(amqp.url) as publisher:
        assert tally(await publish(publisher, [envelope(1), envelope(2, exchange="missing")])) == {
            "confirmed": 1,
            "no_exchange": 1,
        }
        assert publisher._link is not None
        publisher._link.abort(Loss(Fault.LOST, "the test"))
        assert tally(await publish(publisher, [envelope(3)])) == {"confirmed": 1}
    await eventually(lambda: asyncio.all_tasks() <= before)


async def test_the_properties_of_a_returned_message_are_read_whole(link: Link) -> None:
    """Hence the row's id may travel in a header, also where the broker takes BCC out and encodes the table anew."""
    channel = await recorder(link)
    headers: dict[str, HeaderValue] = {"BCC": ["nowhere-either"], "deep": {"list": [1, None, True, "x"]}}
    frames = encode(envelope(7, "nowhere", headers=headers), channel.number, link.frame_max)
    assert isinstance(frames, bytes)
    channel.expect([7])
    link.write(frames)
    await channel.settled(5)
    (answer,) = channel.take()
    assert answer.row_id == 7
    assert "NO_ROUTE" in str(answer.outcome)
