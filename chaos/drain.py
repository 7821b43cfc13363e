"""The drain: writes down every message that arrives, then acks it; reconnects for as long as it lives.

Run as a process of its own: `python -m chaos.drain`. It ends, with exit code 0, behind the message `END`.
"""

import argparse
import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from chaos.history import Arrival, Log, digest, label

T = TypeVar("T")

URL_VARIABLE = "CHAOS_AMQP_URL"
QUEUE = "chaos.all"
END = "end"
PREFETCH = 300
CONNECT_S = 5.0
RECONNECT_S = 0.3
ADDED = ("x-outbox-", "x-delivery-count")
"""Headers that the relay adds, and a quorum queue to what it delivers again."""
GONE = (*CONNECTION_EXCEPTIONS, OSError, TimeoutError)


async def ours(work: Awaitable[T]) -> T:
    """Await it; a cancellation by the AMQP library, which it may answer with when it gives up, becomes an error."""
    try:
        return await work
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ConnectionError("the library gave up") from None


class Positions:
    """Numbers that rise over the whole run, in every process: the time in nanoseconds, made unique."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """Return a number above all before."""
        self._last = max(self._last + 1, time.time_ns())
        return self._last


def arrival(message: AbstractIncomingMessage, position: int) -> Arrival:
    """Tell what came."""
    said = message.headers
    return Arrival(
        position,
        message.message_id or "",
        digest(message.body),
        message.exchange or "",
        message.routing_key or "",
        time.time(),
        labels=label({name: value for name, value in said.items() if not name.startswith(ADDED)}, _properties(message)),
        row_id=_number(said.get("x-outbox-id")),
        attempt=_number(said.get("x-outbox-attempt")) or 1,
        delivery_mode=int(message.delivery_mode or 0),
        redelivered=bool(message.redelivered),
    )


def _properties(message: AbstractIncomingMessage) -> Mapping[str, Any]:
    return {
        "type": message.type,
        "correlation_id": message.correlation_id,
        "reply_to": message.reply_to,
        "priority": message.priority or None,  # 0 stands for none in aio-pika
        "content_encoding": message.content_encoding,
        "app_id": message.app_id,
    }


def _number(value: object) -> int | None:
    return None if value is None else int(str(value))


class Drain:
    """Drains the queue into the history."""

    def __init__(self, url: str, log: Log) -> None:
        self._url = url
        self._log = log
        self._positions = Positions()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Consume until the end is seen."""
        while not self._over.is_set():
            with contextlib.suppress(*GONE):
                await ours(self._connected())
            await asyncio.sleep(RECONNECT_S)

    async def _connected(self) -> None:
        """Consume until the connection ends."""
        ended = asyncio.Event()
        connection = await aio_pika.connect(
            self._url, timeout=CONNECT_S, client_properties={"connection_name": "chaos drain"}
        )
        connection.close_callbacks.add(lambda *_: ended.set())
        async with connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=PREFETCH)
            queue = await channel.get_queue(QUEUE)
            await queue.consume(self._take)
            waits = [asyncio.create_task(each.wait()) for each in (ended, self._over)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for each in waits:
                each.cancel()

    async def _take(self, message: AbstractIncomingMessage) -> None:
        if message.message_id == END:
            self._over.set()
        else:
            self._log.add(arrival(message, self._positions.next()))
        with contextlib.suppress(*GONE):
            await message.ack()


def main() -> None:
    """Read the arguments and drain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", required=True, type=Path)
    given = parser.parse_args()
    asyncio.run(Drain(os.environ[URL_VARIABLE], Log(given.folder)).run())


if __name__ == "__main__":
    main()
