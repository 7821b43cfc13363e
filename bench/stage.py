"""The stage of a run: two private, durable servers, a table full of rows, an empty queue, and the look afterwards."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, LiteralString

import aio_pika
import psycopg
from aio_pika.abc import AbstractChannel, ExchangeType

from bench import naive
from bench.figures import Run, Seen, Who, refusal
from bench.meter import Broken, Metered, meter
from services import find

RELAY = Path(sys.executable).with_name("relay")
DATABASE = "bench"
EXCHANGE, QUEUE = "bench", "bench.queue"
POSTGRES_SETTINGS: Mapping[str, str] = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    # No checkpoint falls into one run and not into the other.
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "top",
    "pg_stat_statements.track_utility": "on",
}
FILL = """
INSERT INTO outbox.message (routing_key, payload)
SELECT
  'order.placed',
  jsonb_build_object(
    'order', n,
    'customer', md5(n::text),
    'placed_at', '2024-05-17T09:00:00+00:00',
    'total', jsonb_build_object('currency', 'EUR', 'cents', 1000 + n %% 90000),
    'lines', jsonb_build_array(
      jsonb_build_object('sku', left(md5('a' || n), 12), 'name', 'hand plane', 'quantity', 1 + n %% 3, 'cents', 4900),
      jsonb_build_object('sku', left(md5('b' || n), 12), 'name', 'tea pot, 1 l', 'quantity', 1, 'cents', 2350)
    ),
    'ship_to', jsonb_build_object('street', 'Rue de la Paix ' || n %% 200, 'city', 'Genève', 'country', 'CH'),
    'note', repeat('please ring ', 4) || n %% 1000
  )
FROM generate_series(1, %(rows)s) AS n
"""
COUNT = """
SELECT count(*) FILTER (WHERE status = 'sent'), count(*) FILTER (WHERE status <> 'sent') FROM outbox.message
"""
STATEMENTS = """
SELECT
  (SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements
   WHERE dbid = (SELECT oid FROM pg_database WHERE datname = %(name)s)),
  (SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %(name)s)
"""


class Stage:
    """The servers, until `close`."""

    def __init__(self) -> None:
        """Start both. Raises what `services` raises."""
        self.postgres = find.own_postgres(durable=True, settings=POSTGRES_SETTINGS)
        try:
            self.rabbitmq = find.own_rabbitmq()
        except BaseException:
            self.postgres.close()
            raise
        self._watching = psycopg.connect(self.postgres.url(), autocommit=True)

    def close(self) -> None:
        """End both and remove what they wrote."""
        self._watching.close()
        self.rabbitmq.close()
        self.postgres.close()

    def migrate(self) -> None:
        """Make the database and the relay's table, by its own command."""
        self._ask("CREATE EXTENSION pg_stat_statements")
        self.postgres.create_database(DATABASE)
        done = subprocess.run(
            (str(RELAY), "migrate", "up"), env=self.environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Broken(f"`relay migrate up` exited {done.returncode}:\n{done.stdout}{done.stderr}")

    def environment(self) -> dict[str, str]:
        """Return where both find the servers; every other setting of the relay has its default."""
        database, amqp = self.postgres.url(DATABASE), self.rabbitmq.url()
        return {
            "PATH": "/usr/bin:/bin",
            "RELAY_DATABASE_URL": database,
            "RELAY_AMQP_URL": amqp,
            "RELAY_EXCHANGE": EXCHANGE,
            "RELAY_NAME": "bench",
            "RELAY_HTTP_HOST": "127.0.0.1",
            "RELAY_HTTP_PORT": "0",
        }

    def naive_environment(self) -> dict[str, str]:
        """Return the same for the naive loop."""
        relay = self.environment()
        return {
            naive.DATABASE_VARIABLE: relay["RELAY_DATABASE_URL"],
            naive.AMQP_VARIABLE: relay["RELAY_AMQP_URL"],
            naive.EXCHANGE_VARIABLE: EXCHANGE,
        }

    def run(self, who: Who, rows: int) -> Run:
        """Fill the table, empty the queue, drain, and look. Raises Broken when a row is missing or too many."""
        self.fill(rows)
        asyncio.run(self.empty_queue())
        before = self._counted()
        if who == "relay":
            metered = meter((str(RELAY), "run", "--drain"), self.environment())
        else:
            metered = meter((sys.executable, "-m", "bench.naive"), self.naive_environment())
        after = self._counted()
        why = refusal(asyncio.run(self.look()), rows)
        if why is not None:
            raise Broken(f"The figures of this run of {who} count for nothing: {why}.")
        return _run(who, rows, metered, (after[0] - before[0], after[1] - before[1]))

    def fill(self, rows: int) -> None:
        """Replace the table's rows by fresh ones, on disk, vacuumed, as a table at rest would be."""
        with psycopg.connect(self.postgres.url(DATABASE), autocommit=True) as connection:
            connection.execute("TRUNCATE outbox.message RESTART IDENTITY")
            connection.execute(FILL, {"rows": rows})
            connection.execute("VACUUM (FREEZE, ANALYZE) outbox.message")
            connection.execute("CHECKPOINT")

    def body_bytes(self) -> float:
        """Return the mean size of a payload."""
        with psycopg.connect(self.postgres.url(DATABASE), autocommit=True) as connection:
            row = connection.execute("SELECT avg(octet_length(payload::text))::float8 FROM outbox.message").fetchone()
        assert row is not None
        return float(row[0])

    async def empty_queue(self) -> None:
        """Make the durable exchange and a new durable quorum queue, bound."""
        async with await aio_pika.connect(self.rabbitmq.url()) as connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)
            await channel.queue_delete(QUEUE)
            queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
            await queue.bind(exchange, "#")

    async def look(self) -> Seen:
        """Count what is in the table and in the queue."""
        with psycopg.connect(self.postgres.url(DATABASE), autocommit=True) as connection:
            row = connection.execute(COUNT).fetchone()
        assert row is not None
        async with await aio_pika.connect(self.rabbitmq.url()) as connection_:
            return Seen(sent=row[0], not_sent=row[1], queued=await _depth(await connection_.channel()))

    def _counted(self) -> tuple[int, int]:
        """Return the statements and transactions in the bench's database, counted since ever."""
        row = self._ask(STATEMENTS, {"name": DATABASE})[0]
        return int(row[0]), int(row[1])

    def _ask(self, query: LiteralString, params: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        cursor = self._watching.execute(query, params)
        return cursor.fetchall() if cursor.description else []


async def _depth(channel: AbstractChannel) -> int:
    queue = await channel.declare_queue(QUEUE, passive=True)
    return queue.declaration_result.message_count or 0


def _run(who: Who, rows: int, metered: Metered, counted: tuple[int, int]) -> Run:
    started, ready, last = metered.started, metered.ready, metered.last
    before, after = metered.before, metered.after
    postgres_s, rabbitmq_s = after.postgres_s - before.postgres_s, after.rabbitmq_s - before.rabbitmq_s
    others_s = after.busy_s - before.busy_s - postgres_s - rabbitmq_s - (last.cpu_s - ready.cpu_s)
    return Run(
        who=who,
        rows=rows,
        seconds=last.at - ready.at,
        cpu_s=last.cpu_s - ready.cpu_s,
        startup_s=ready.at - started.at,
        startup_cpu_s=ready.cpu_s,
        statements=counted[0],
        transactions=counted[1],
        memory_mib=last.memory_mib,
        postgres_cpu_s=postgres_s,
        rabbitmq_cpu_s=rabbitmq_s,
        elsewhere=max(0.0, others_s) / ((after.at - before.at) * (os.cpu_count() or 1)),
    )
