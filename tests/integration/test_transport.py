"""The socket under a connection to the broker."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from yarl import URL

from relay.broker.transport import Transport

HEARTBEAT_S = 10


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address that lets nobody connect and refuses nobody, as a host that is gone."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.2", 0))
        listening.listen(0)
        address = listening.getsockname()
        for _ in range(3):  # fills the queue of those that wait to be accepted; Linux then ignores who knocks
            knocking = stack.enter_context(socket.socket())
            knocking.settimeout(0)
            knocking.connect_ex(address)
        yield address


async def test_an_address_that_is_gone_does_not_hide_the_next_one_of_its_name(
    silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = silent[1]

    def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in (silent[0], "127.0.0.1")]

    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    transport = Transport(HEARTBEAT_S)
    async with server, asyncio.timeout(10):
        await transport.create(URL(f"amqp://mq.example:{port}"))
        assert transport.writer.get_extra_info("peername") == ("127.0.0.1", port)
        transport.reset()
