"""A URL that names several hosts: any of them will do, and one that is gone or silent costs little."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from relay.broker import RabbitPublisher
from relay.model import Fault, Unreachable
from services.process import free_port
from services.proxy import Proxy
from tests.builders import Amqp, eventually
from tests.publishing import envelopes, publish, publishing, tally

MakeProxy = Callable[[str, int], Awaitable[Proxy]]
ROUNDS = 8
"""Enough for every host to have been the first."""


def across(url: str, *ports: int) -> str:
    """The URL with those ports of 127.0.0.1 for hosts."""
    return url.replace(urlsplit(url).netloc.rpartition("@")[2], ",".join(f"127.0.0.1:{port}" for port in ports))


async def connected_port(publisher: RabbitPublisher) -> Any:
    """Make sure of a connection; its port."""
    assert await publisher.ready() is None
    assert publisher._link is not None
    return publisher._link._transport.writer.get_extra_info("peername")[1]


async def test_a_host_that_is_gone_and_one_that_is_silent_do_not_keep_it_from_the_third(
    amqp: Amqp, proxy: MakeProxy
) -> None:
    port = urlsplit(amqp.url).port or 5672
    silent = await proxy("127.0.0.1", port)
    silent.blackhole()
    await amqp.queue("all")
    url = across(amqp.url, free_port(), silent.port, port)
    for _ in range(ROUNDS):
        async with publishing(url, connect_timeout_s=1.5) as publisher:
            assert await connected_port(publisher) == port
            assert tally(await publish(publisher, envelopes(3))) == {"confirmed": 3}
    assert await amqp.count("all") == 3 * ROUNDS


async def test_connections_spread_over_the_hosts_and_leave_the_one_that_is_lost(amqp: Amqp, proxy: MakeProxy) -> None:
    port = urlsplit(amqp.url).port or 5672
    ways = [await proxy("127.0.0.1", port) for _ in range(2)]
    url = across(amqp.url, *(way.port for way in ways))
    seen = set()
    for _ in range(4 * ROUNDS):  # both by chance, but for one time in two thousand million
        async with publishing(url) as publisher:
            seen.add(await connected_port(publisher))
    assert seen == {way.port for way in ways}
    async with publishing(url) as publisher:
        first, other = sorted(ways, key=lambda way: way.port, reverse=await connected_port(publisher) == max(seen))
        await first.refuse()
        first.reset_all()
        await eventually(lambda: not publisher.connected)
        assert await connected_port(publisher) == other.port


async def test_when_no_host_can_be_used_each_is_named_with_its_reason(amqp: Amqp) -> None:
    ports = (free_port(), free_port())
    async with publishing(across(amqp.url, *ports)) as publisher:
        lost = await publisher.ready()
    assert isinstance(lost, Unreachable)
    assert lost.fault is Fault.REFUSED
    assert all(f"127.0.0.1:{port}: connection refused" in lost.detail for port in ports)


async def test_the_reason_does_not_change_with_the_order_in_which_hosts_are_tried(proxy: MakeProxy) -> None:
    silent, gone = await proxy("127.0.0.1", free_port()), free_port()
    silent.blackhole()
    told = []
    for ports in ((gone, silent.port), (silent.port, gone)):
        async with publishing(across("amqp://u:p@host/", *ports), connect_timeout_s=0.4) as publisher:
            told.append({await publisher.ready() for _ in range(ROUNDS)})
    ((first,), (other,)) = told
    assert isinstance(first, Unreachable)
    assert isinstance(other, Unreachable)
    assert (first.fault, other.fault) == (Fault.REFUSED, Fault.TIMEOUT)


async def test_refused_credentials_are_not_tried_at_the_next_host(amqp: Amqp) -> None:
    port = urlsplit(amqp.url).port or 5672
    url = across(amqp.url, port, port, port).replace(":", ":wrong-", 2).replace(":wrong-", ":", 1)
    async with publishing(url) as publisher:
        lost = await publisher.ready()
    assert isinstance(lost, Unreachable)
    assert (lost.fault, lost.detail.count("127.0.0.1")) == (Fault.AUTH, 1)
