"""The baseline: the outbox loop most teams write, written as well as it can be without leaving that form.

Its choices, all in its favour where there is one:

- One connection to each server, one loop, batches of 500 as the relay's.
- `SELECT … FOR UPDATE SKIP LOCKED` and the UPDATE share a transaction, so a batch costs one synchronous commit where
  the relay's lease costs two. (The open transaction while publishing is the price; it is not measured here.)
- The same partial index serves its SELECT. psycopg prepares both statements after a few turns, its default.
- One UPDATE a batch, by an array of ids.
- `exchange.publish` for each row under `asyncio.gather`, so that confirms overlap. `mandatory` and `on_return_raises`
  are on and messages are persistent: without them rows get lost, and then there is nothing to compare.
- No `timeout=` on publish, which costs; no validation, no logging, no metrics.
- The payload goes out as its text, without a detour by `json.loads`.

It says `naive.started` before it connects, as the relay says `relay.started`, and `naive.batch` after each mark.
With a poll time it waits when it finds nothing, until SIGTERM; without, it ends.
"""

import asyncio
import json
import os
import sys
from typing import Any

import aio_pika
import psycopg
from aio_pika.abc import AbstractExchange

DATABASE_VARIABLE, AMQP_VARIABLE, EXCHANGE_VARIABLE = "NAIVE_DATABASE_URL", "NAIVE_AMQP_URL", "NAIVE_EXCHANGE"
POLL_VARIABLE = "NAIVE_POLL_S"
BATCH = 500
CLAIM = f"""
SELECT id, message_id::text, routing_key, payload::text, content_type, created_at
FROM outbox.message
WHERE status = 'pending'
ORDER BY id
LIMIT {BATCH}
FOR UPDATE SKIP LOCKED
"""
MARK = "UPDATE outbox.message SET status = 'sent', sent_at = now() WHERE id = ANY (%s)"


async def carry(database_url: str, amqp_url: str, exchange_name: str, *, poll_s: float) -> None:
    """Publish until no row is pending, or for ever when there is a poll time."""
    broker = await aio_pika.connect_robust(amqp_url)
    async with broker, await psycopg.AsyncConnection.connect(database_url) as database:
        channel = await broker.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await channel.get_exchange(exchange_name)
        while (rows := await _batch(database, exchange)) or poll_s:
            if rows:
                _say("naive.batch", claimed=rows)
            else:
                await asyncio.sleep(poll_s)


async def _batch(database: psycopg.AsyncConnection[Any], exchange: AbstractExchange) -> int:
    async with database.transaction():
        rows = await (await database.execute(CLAIM)).fetchall()
        if not rows:
            return 0
        await asyncio.gather(*(_publish(exchange, row) for row in rows))
        await database.execute(MARK, [[row[0] for row in rows]])
    return len(rows)


async def _publish(exchange: AbstractExchange, row: tuple[Any, ...]) -> None:
    row_id, message_id, routing_key, payload, content_type, created_at = row
    message = aio_pika.Message(
        payload.encode(),
        message_id=message_id,
        content_type=content_type,
        timestamp=created_at,
        headers={"x-outbox-id": row_id},
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
    await exchange.publish(message, routing_key, mandatory=True)


def _say(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Carry the rows of the table named by the environment."""
    _say("naive.started")
    where = (os.environ[name] for name in (DATABASE_VARIABLE, AMQP_VARIABLE, EXCHANGE_VARIABLE))
    asyncio.run(carry(*where, poll_s=float(os.environ.get(POLL_VARIABLE, "0"))))


if __name__ == "__main__":
    main()
