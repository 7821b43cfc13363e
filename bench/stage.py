"""The stage: two private, durable servers, databases with the relay's table, and an empty queue."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import aio_pika
import psycopg
from aio_pika.abc import AbstractChannel, ExchangeType

from bench import naive
from bench.meter import Broken
from services import find

RELAY = Path(sys.executable).with_name("relay")
EMPTY, DATABASE = "bench_empty", "bench"
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
STATEMENTS = """
SELECT
  coalesce(sum(calls), 0)::bigint,
  coalesce(sum(calls) FILTER (WHERE query !~* '^\\s*(BEGIN|START|SET|COMMIT|ROLLBACK|RESET)'), 0)::bigint,
  (SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %(name)s)
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = %(name)s)
"""
CLAIMS = """
SELECT coalesce(sum(calls), 0)::bigint
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = %(name)s) AND query LIKE '%%SKIP LOCKED%%'
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

    def prepare(self) -> None:
        """Make a database with the relay's table, by its own command, and the one that most runs use."""
        self._ask("CREATE EXTENSION pg_stat_statements")
        self.postgres.create_database(EMPTY)
        self.relay(EMPTY, "migrate", "up")
        self.postgres.create_database(DATABASE, template=EMPTY)

    @contextmanager
    def database(self, name: str, *extras: Sequence[str]) -> Iterator[str]:
        """Lend a database with an empty table, after those further commands of the relay; its name."""
        self.postgres.create_database(name, template=EMPTY)
        try:
            for words in extras:
                self.relay(name, *words)
            yield name
        finally:
            self.postgres.drop_database(name)

    def relay(self, database: str, *words: str) -> None:
        """Run a short command of the relay. Raises Broken when it fails."""
        done = subprocess.run(
            (str(RELAY), *words), env=self.environment(database), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Broken(f"`relay {' '.join(words)}` exited {done.returncode}:\n{done.stdout}{done.stderr}")

    def environment(self, database: str = DATABASE, settings: Mapping[str, object] | None = None) -> dict[str, str]:
        """Return where the relay finds the servers; what `settings` does not name has its default."""
        ours: dict[str, object] = {
            "DATABASE_URL": self.postgres.url(database),
            "AMQP_URL": self.rabbitmq.url(),
            "EXCHANGE": EXCHANGE,
            "NAME": "bench",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": 0,
        }
        chosen = ours | dict(settings or {})
        return {"PATH": "/usr/bin:/bin"} | {f"RELAY_{name}": str(value) for name, value in chosen.items()}

    def naive_environment(self, database: str = DATABASE, *, poll_s: float = 0.0) -> dict[str, str]:
        """Return the same for the naive loop."""
        return {
            naive.DATABASE_VARIABLE: self.postgres.url(database),
            naive.AMQP_VARIABLE: self.rabbitmq.url(),
            naive.EXCHANGE_VARIABLE: EXCHANGE,
            naive.POLL_VARIABLE: str(poll_s),
        }

    def connected(self, database: str = DATABASE) -> psycopg.Connection[Any]:
        """Connect to a database, to fill and to look."""
        return psycopg.connect(self.postgres.url(database), autocommit=True)

    def empty_queue(self) -> None:
        """Make the durable exchange and a new durable quorum queue, bound."""
        asyncio.run(self._empty_queue())

    async def _empty_queue(self) -> None:
        async with await aio_pika.connect(self.rabbitmq.url()) as connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)
            await channel.queue_delete(QUEUE)
            queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
            await queue.bind(exchange, "#")

    def queued(self) -> int:
        """Count the messages in the queue."""
        return asyncio.run(self._queued())

    async def _queued(self) -> int:
        async with await aio_pika.connect(self.rabbitmq.url()) as connection:
            return await _depth(await connection.channel())

    def counted(self, database: str = DATABASE) -> tuple[int, int, int]:
        """Return the statements in a database since ever, those of them that are not about transactions, and these."""
        every, plain, transactions = self._ask(STATEMENTS, {"name": database})[0]
        return int(every), int(plain), int(transactions)

    def claims(self, database: str = DATABASE) -> int:
        """Return the claims in a database since ever, those that found nothing too."""
        return int(self._ask(CLAIMS, {"name": database})[0][0])

    def _ask(self, query: LiteralString, params: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        cursor = self._watching.execute(query, params)
        return cursor.fetchall() if cursor.description else []


async def _depth(channel: AbstractChannel) -> int:
    queue = await channel.declare_queue(QUEUE, passive=True)
    return queue.declaration_result.message_count or 0
