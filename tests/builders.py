"""What tests say in one word: a database, a broker, a row, a wait."""

import asyncio
import inspect
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from secrets import token_hex
from typing import Any, LiteralString, TypeVar, overload
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue, ExchangeType
from psycopg import AsyncConnection, sql
from psycopg.types.json import Jsonb

from services.broker import Broker

T = TypeVar("T")

EVENTUALLY_S = 10.0
POLL_S = 0.02


@overload
def eventually(assertion: Callable[[], Awaitable[T]], timeout: float = ...) -> Coroutine[Any, Any, T]: ...
@overload
def eventually(assertion: Callable[[], T], timeout: float = ...) -> Coroutine[Any, Any, T]: ...
async def eventually(assertion: Callable[[], Any], timeout: float = EVENTUALLY_S) -> Any:  # noqa: ASYNC109  # it fails with the assertion's own words, not with a TimeoutError
    """Ask until it raises no AssertionError and does not return False; what it returned.

    After `timeout` seconds the last AssertionError is raised. Both plain and async functions will do.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            answer = assertion()
            value = await answer if inspect.isawaitable(answer) else answer
            assert value is not False, "it stayed False"
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(POLL_S)
        else:
            return value


class Database:
    """A fresh, migrated database of one test; `url` is its superuser's."""

    def __init__(self, url: str, name: str, *, schema: str = "outbox", table: str = "message") -> None:
        self.url = url
        self.name = name
        self.table = sql.Identifier(schema, table)
        self._stack = AsyncExitStack()
        self._connection: AsyncConnection[tuple[Any, ...]] | None = None

    async def connect(self, url: str | None = None) -> AsyncConnection[tuple[Any, ...]]:
        """A connection with autocommit, closed with the test."""
        connection = await AsyncConnection.connect(url or self.url, autocommit=True)
        self._stack.push_async_callback(connection.close)
        return connection

    async def fetch(
        self,
        query: LiteralString | sql.SQL | sql.Composed,
        params: Mapping[str, Any] | tuple[Any, ...] | None = None,
    ) -> list[tuple[Any, ...]]:
        """Run a statement on a connection kept for the test; its rows. `{table}` in a plain string is the outbox."""
        if self._connection is None or self._connection.closed:
            self._connection = await self.connect()
        composed = sql.SQL(query).format(table=self.table) if isinstance(query, str) and "{table}" in query else query
        cursor = await self._connection.execute(composed, params)
        return await cursor.fetchall() if cursor.description else []

    async def insert(self, *, n: int = 1, **columns: Any) -> list[int]:
        """Insert `n` rows with those columns; their ids in order. A dict becomes jsonb.

        A callable gets the row's number. Without a routing key it is `order.created`, without a payload
        `{"n": number}`.
        """
        given = {"routing_key": "order.created", "payload": lambda number: {"n": number}} | columns
        names = sql.SQL(", ").join(map(sql.Identifier, given))
        arrays = sql.SQL(", ").join(sql.Placeholder() for _ in given)
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(self.table, names, arrays)
        if self._connection is None or self._connection.closed:
            self._connection = await self.connect()
        ids: list[int] = []
        async with self._connection.transaction(), self._connection.cursor() as cursor:
            rows = [[_adapted(value, number) for value in given.values()] for number in range(n)]
            await cursor.executemany(query, rows, returning=True)
            async for result in cursor.results():
                ids += [row[0] for row in await result.fetchall()]
        return ids

    async def statuses(self) -> dict[str, int]:
        """How many rows there are of each status."""
        rows = await self.fetch("SELECT status, count(*) FROM {table} GROUP BY status")
        return {status: count for status, count in rows}  # noqa: C416  # dict() does not know the tuples have two items

    async def close(self) -> None:
        """Close every connection."""
        await self._stack.aclose()


def _adapted(value: Any, number: int) -> Any:
    chosen = value(number) if callable(value) else value
    return Jsonb(chosen) if isinstance(chosen, dict | list) else chosen


@asynccontextmanager
async def fresh_vhost(broker: Broker) -> AsyncIterator["Amqp"]:
    """A vhost of the test's own; of a broker that gives none, what the test declares is deleted at the end."""
    vhost = await asyncio.to_thread(broker.add_vhost, f"relay-test-{token_hex(4)}")
    part = Amqp(broker.url(vhost), vhost)
    yield part
    await part.close(remove=vhost == broker.vhost)
    await asyncio.to_thread(broker.delete_vhost, vhost)


class Amqp:
    """One test's part of a broker: a vhost of its own, or on a foreign broker what the test declared."""

    def __init__(self, url: str, vhost: str) -> None:
        self.url = url
        self.vhost = vhost
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._declared: list[Callable[[AbstractChannel], Awaitable[object]]] = []

    async def connect(self) -> AbstractConnection:
        """The test's own connection, opened once; opened again when it was lost."""
        lost = self._connection is not None and (
            self._connection.transport is None or self._connection.transport.connection.is_closed
        )
        if self._connection is None or lost:
            self._connection = await aio_pika.connect(self.url, timeout=10)
            self._channel = None
        return self._connection

    async def channel(self) -> AbstractChannel:
        """The test's own channel, opened once; opened again when it was closed."""
        connection = await self.connect()
        if self._channel is None or self._channel.is_closed:
            self._channel = await connection.channel()
        return self._channel

    async def exchange(self, name: str, type: str = "topic", *, durable: bool = True) -> str:  # noqa: A002  # AMQP's word
        """Declare an exchange; its name."""
        await (await self.channel()).declare_exchange(name, ExchangeType(type), durable=durable)
        self._declared.insert(0, lambda channel: channel.exchange_delete(name))
        return name

    async def queue(self, name: str, exchange: str | None = None, routing_key: str = "#", **arguments: Any) -> str:
        """Declare a durable queue, bound to `exchange` (declared as a topic when it is missing); its name.

        Arguments are written with underscores: `x_max_length=10`, `x_queue_type="quorum"`.
        """
        spelled = {key.replace("_", "-"): value for key, value in arguments.items()}
        queue = await (await self.channel()).declare_queue(name, durable=True, arguments=spelled or None)
        self._declared.insert(0, lambda channel: channel.queue_delete(name))
        if exchange is not None:
            await self.exchange(exchange)
            await queue.bind(exchange, routing_key)
        return name

    async def _get(self, name: str) -> AbstractQueue:
        return await (await self.channel()).get_queue(name, ensure=False)

    async def drain(self, name: str, count: int = 0, timeout: float = EVENTUALLY_S) -> list[AbstractIncomingMessage]:  # noqa: ASYNC109  # it fails with what came, not with a TimeoutError
        """Take everything that is in the queue, and at least `count` messages within `timeout` seconds."""
        taken: list[AbstractIncomingMessage] = []

        async def take(message: AbstractIncomingMessage) -> None:
            taken.append(message)

        async def all_taken() -> None:
            assert await self.count(name) == 0
            assert len(taken) >= count, f"{len(taken)} of {count} messages came to {name} in {timeout} s"

        queue = await self._get(name)
        tag = await queue.consume(take, no_ack=True)
        try:
            await eventually(all_taken, timeout)
        finally:
            await queue.cancel(tag)
        await asyncio.sleep(0)  # the last message may have come before the cancel's answer, and wait for its turn
        return taken

    async def count(self, name: str) -> int:
        """How many messages wait in the queue."""
        declared = await (await self.channel()).declare_queue(name, passive=True)
        return declared.declaration_result.message_count or 0

    async def close(self, *, remove: bool) -> None:
        """Close the connection; with `remove` delete first what was declared through this object."""
        if remove:
            for undo in self._declared:
                await undo(await self.channel())
        if self._connection is not None:
            await self._connection.close()


def payloads(messages: list[AbstractIncomingMessage]) -> list[Any]:
    """Their bodies as JSON."""
    return [json.loads(message.body) for message in messages]


def message_ids(messages: list[AbstractIncomingMessage]) -> list[UUID]:
    """Their message ids."""
    return [UUID(str(message.message_id)) for message in messages]
