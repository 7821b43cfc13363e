"""The libraries and the servers as they are, nothing of ours between; and frames as they come."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiormq
from aiormq.abc import AbstractChannel, ExceptionType
from pamqp import commands as spec

GOODBYE_S = 3.0
PERSISTENT = 2

Told = Any
"""What a publish came to: the broker's frame, or the exception."""


@asynccontextmanager
async def aiormq_connection(url: str) -> AsyncIterator[aiormq.Connection]:
    """A connection of the library, closed at the end, whatever became of it."""
    connection = aiormq.Connection(url)
    await connection.connect()
    try:
        yield connection
    finally:
        with suppress(Exception, asyncio.CancelledError):
            async with asyncio.timeout(GOODBYE_S):
                await connection.close()


@asynccontextmanager
async def aiormq_channel(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel of the library in confirm mode, whose returns raise."""
    async with aiormq_connection(url) as connection:
        yield await connection.channel(on_return_raises=True)


def publish(
    channel: AbstractChannel, routing_key: str = "all", *, body: bytes = b"x", mandatory: bool = True, **fields: Any
) -> Awaitable[Told]:
    """One publish, persistent and mandatory; `fields` are the frame's or the message's."""
    frame = {name: fields.pop(name) for name in ("exchange", "timeout") if name in fields}
    properties = spec.Basic.Properties(**({"delivery_mode": PERSISTENT} | fields))
    return channel.basic_publish(body, routing_key=routing_key, mandatory=mandatory, properties=properties, **frame)


async def told(*publishes: Awaitable[Told]) -> Sequence[Told]:
    """Publish at once, a task each as users of the library do; what each came to."""
    return await asyncio.gather(*publishes, return_exceptions=True)


def acked(answer: Told) -> bool:
    """Whether the library reports it as confirmed."""
    return isinstance(answer, spec.Basic.Ack)


async def closed(connection: aiormq.Connection) -> ExceptionType | None:
    """Wait for the end of a connection, for some seconds; why it ended."""
    async with asyncio.timeout(GOODBYE_S):
        with suppress(Exception):
            await asyncio.shield(connection.closing)
    return connection.closing.exception()
