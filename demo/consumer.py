"""The consumer: writes down every message that comes, then acks it; reconnects for as long as it lives."""

import argparse
import asyncio
import contextlib
import os
import signal
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from demo.journal import Fact, Journal, digest

URL_VARIABLE = "CONSUMER_AMQP_URL"
EXCHANGE = "shop"
QUEUE = "shop.orders"
PREFETCH = 200
CONNECT_S = 5.0
RECONNECT_S = 0.3
GONE = (*CONNECTION_EXCEPTIONS, OSError, TimeoutError)


class Consumer:
    """Drains the queue into a journal."""

    def __init__(self, url: str, journal: Journal, *, withhold: int) -> None:
        """`withhold` is the number of the message that is thrown away unrecorded; 0 for none."""
        self._url = url
        self._journal = journal
        self._withhold = withhold
        self._seen = 0

    async def serve(self) -> None:
        """Consume until cancelled."""
        while True:
            with contextlib.suppress(*GONE):
                await self._connected()
            await asyncio.sleep(RECONNECT_S)

    async def _connected(self) -> None:
        """Consume until the connection ends."""
        ended = asyncio.Event()
        connection = await aio_pika.connect(
            self._url, timeout=CONNECT_S, client_properties={"connection_name": "demo consumer"}
        )
        connection.close_callbacks.add(lambda *_: ended.set())
        async with connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=PREFETCH)
            exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
            queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
            await queue.bind(exchange, "order.*")
            await queue.consume(self._take)
            self._journal.note(Fact.READY)
            await ended.wait()

    async def _take(self, message: AbstractIncomingMessage) -> None:
        self._seen += 1
        if self._seen != self._withhold:
            flag = "redelivered" if message.redelivered else "first"
            self._journal.note(Fact.ARRIVED, message.message_id or "none", digest(message.body), flag)
        with contextlib.suppress(*GONE):
            await message.ack()


async def run(consumer: Consumer) -> None:
    """Consume until SIGTERM."""
    task = asyncio.ensure_future(consumer.serve())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> None:
    """Read the arguments and consume."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--journal", required=True, type=Path)
    parser.add_argument("--withhold", type=int, default=0)
    given = parser.parse_args()
    asyncio.run(run(Consumer(os.environ[URL_VARIABLE], Journal(given.journal), withhold=given.withhold)))


if __name__ == "__main__":
    main()
