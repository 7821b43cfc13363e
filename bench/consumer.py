"""A consumer that writes down when each message came.

Run as a process of its own. A quorum queue delivers a message when a majority has it in its log, which is when the
publisher's confirm is sent: an arrival stands for the confirm, seen by the same clock as the commit. It says
`consumer.ready`, and when it has as many rows as wanted `consumer.done`, with the first arrival of each by its id, in
the order of the queue.
"""

import asyncio
import json
import os
import sys
import time

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

URL_VARIABLE, QUEUE_VARIABLE, ROWS_VARIABLE = "CONSUMER_URL", "CONSUMER_QUEUE", "CONSUMER_ROWS"


async def consume(url: str, queue_name: str, rows: int) -> dict[int, float]:
    """Take so many rows; nothing is acked, so that the consumer costs as little as it can."""
    arrived: dict[int, float] = {}
    ended = asyncio.Event()

    async def take(message: AbstractIncomingMessage) -> None:
        arrived.setdefault(int(str(message.headers["x-outbox-id"])), time.monotonic())
        if len(arrived) >= rows:
            ended.set()

    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue(queue_name)
        await queue.consume(take, no_ack=True)
        _say("consumer.ready")
        await ended.wait()
    return arrived


def _say(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Consume as the environment says."""
    url, queue_name, rows = (os.environ[name] for name in (URL_VARIABLE, QUEUE_VARIABLE, ROWS_VARIABLE))
    arrived = asyncio.run(consume(url, queue_name, int(rows)))
    _say("consumer.done", at=arrived)


if __name__ == "__main__":
    main()
