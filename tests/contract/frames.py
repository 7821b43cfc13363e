"""One of our connections, and on it a channel that notes every frame it hears."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from relay.broker import BrokerConfig
from relay.broker.channel import ConfirmChannel
from relay.broker.connection import connect
from relay.broker.link import Link
from relay.broker.wire import encode
from tests.publishing import envelope


class Recorder(ConfirmChannel):
    """A channel that notes the frames it hears, in order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.heard: list[Any] = []
        super().__init__(*args, **kwargs)

    def _hear(self, frame: Any) -> bool:
        self.heard.append(frame)
        return super()._hear(frame)

    def names(self) -> list[str]:
        """The names of the frames, those of the opening left out."""
        return [frame.name for frame in self.heard if not frame.name.endswith(("OpenOk", "SelectOk"))]


@asynccontextmanager
async def linked(url: str, **config: Any) -> AsyncIterator[Link]:
    """One of our connections."""
    link = await connect(BrokerConfig(url=lambda: url, name="contract", **config), private=True)
    assert isinstance(link, Link), link
    try:
        yield link
    finally:
        await link.close(3)


async def recorder(link: Link, number: int = 100) -> Recorder:
    """A recording channel on the connection."""
    channel = Recorder(link._connection, number, broken=link.abort)
    link._connection.channels[number] = channel
    link._channels.add(channel)
    await channel.open()
    return channel


def write(link: Link, channel: ConfirmChannel, *rows: tuple[int, str], exchange: str = "", size: int = 10) -> None:
    """Publish rows on the channel in one write."""
    frames = [
        encode(envelope(row_id, key, exchange=exchange, body=b"x" * size), channel.number, link.frame_max)
        for row_id, key in rows
    ]
    channel.expect([row_id for row_id, _ in rows])
    link.write(b"".join(frame for frame in frames if isinstance(frame, bytes)))
