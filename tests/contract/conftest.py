"""One of our connections, for the tests that look at frames, and outboxes of both kinds."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from relay.broker.link import Link
from tests.builders import Amqp
from tests.contract.frames import linked
from tests.contract.outbox import MakeOutbox, Outbox
from tests.contract.tables import MemoryOutbox, on_postgres


@pytest.fixture
async def link(amqp: Amqp) -> AsyncIterator[Link]:
    """A connection to a vhost with a queue `all`."""
    await amqp.queue("all")
    async with linked(amqp.url) as made:
        yield made


@pytest.fixture(params=["double", "postgres"])
def server(request: pytest.FixtureRequest) -> Callable[..., Any] | None:
    """What makes a real outbox; None for the double."""
    if request.param == "double":
        return None
    db, proxy = request.getfixturevalue("db"), request.getfixturevalue("proxy")
    return lambda stack, **limits: on_postgres(db, proxy, stack, **limits)


@pytest.fixture
async def an_outbox(server: Callable[..., Any] | None) -> AsyncIterator[MakeOutbox]:
    """Makes outboxes with other limits: `await an_outbox(batch_bytes=…, message_bytes_max=…)`."""
    async with AsyncExitStack() as stack:

        async def make(**limits: Any) -> Outbox:
            if server is None:
                return MemoryOutbox(**limits)
            outbox: Outbox = await server(stack, **limits)
            return outbox

        yield make
