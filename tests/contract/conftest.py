"""One of our connections, for the tests that look at frames."""

from collections.abc import AsyncIterator

import pytest

from relay.broker.link import Link
from tests.builders import Amqp
from tests.contract.frames import linked


@pytest.fixture
async def link(amqp: Amqp) -> AsyncIterator[Link]:
    """A connection to a vhost with a queue `all`."""
    await amqp.queue("all")
    async with linked(amqp.url) as made:
        yield made
