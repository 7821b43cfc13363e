"""The stage: two servers of our own, the table, the relays, the producers and the drain; all taken down again."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, LiteralString, TypeVar

import aio_pika
import psycopg
from psycopg import sql

from chaos import drain, keys, producer
from chaos.drafts import EXCHANGE
from chaos.history import Log
from chaos.replicas import Replicas, link
from chaos.schedule import RELAYS
from demo.processes import Broken, Child
from relay import migrate
from services import find
from services.find import OwnPostgres, OwnRabbitMQ
from services.proxy import Proxy

T = TypeVar("T")

DATABASE = "shop"
LOGIN = "relay"
"""Of the relays, on both servers; with no more rights than they need."""
BINDINGS = ("order.#", "bulk.#")
SLOW_WAL = {"wal_writer_delay": "2s", "wal_writer_flush_after": "1GB"}
"""What is committed without waiting stays off the disk for a while: then a crash erases some of it."""
PATIENCE_S = 60.0
SHOP = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (message_id uuid PRIMARY KEY, placed_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE shop.things (key text PRIMARY KEY);
"""
THINGS = "INSERT INTO shop.things SELECT unnest(%(keys)s::text[])"


@dataclass(slots=True)
class Stage:
    """Everything that runs."""

    seed: int
    rate: float
    producers: int
    poison_s: float
    relays: int = RELAYS
    ordered: bool = False
    """The relays keep order per key, and producers write each key in turns."""
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="relay-chaos-", dir="/tmp")))
    password: str = field(default_factory=lambda: token_urlsafe(12))
    log: Log = field(init=False)
    postgres: OwnPostgres = field(init=False)
    rabbitmq: OwnRabbitMQ = field(init=False)
    replicas: Replicas = field(init=False)
    shop: Proxy = field(init=False)
    """The producers' way to Postgres."""
    producer: Child | None = None
    drain: Child | None = None
    _works: list[asyncio.Future[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = Log(self.folder)

    @property
    def url(self) -> str:
        """The database, as its superuser, without a proxy."""
        return self.postgres.url(DATABASE)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work on a server; it goes on when we are cancelled, and `close` waits for its end."""
        task = asyncio.ensure_future(asyncio.to_thread(work))
        self._works = [each for each in self._works if not each.done()] + [task]
        return await asyncio.shield(task)

    async def open(self) -> None:
        """Start everything but the producers."""

        def start_postgres() -> None:
            self.postgres = find.own_postgres(settings=SLOW_WAL)
            self.postgres.create_database(DATABASE)
            migrate.apply(self.url)
            self.postgres.admin(SHOP, database=DATABASE)
            self.postgres.admin(THINGS, {"keys": keys.every(self.producers)}, database=DATABASE)
            if self.ordered:
                migrate.up(self.url, only="ordering")
            role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE outbox_relay")
            self.postgres.admin(role.format(sql.Identifier(LOGIN), sql.Literal(self.password)))

        def start_rabbitmq() -> None:
            self.rabbitmq = find.own_rabbitmq()
            self.change_password(self.password)
            self.permit(write=".*")

        works = (self.in_thread(start_postgres), self.in_thread(start_rabbitmq))
        for failure in await asyncio.gather(*works, return_exceptions=True):
            if isinstance(failure, BaseException):
                raise failure
        await self.declare()
        await self._start_processes()

    async def _start_processes(self) -> None:
        info = psycopg.conninfo.conninfo_to_dict(self.url)
        self.shop = await link(str(info["host"]), int(str(info["port"])))
        await self._start_replicas()
        argv = (sys.executable, "-m", "chaos.drain", "--folder", str(self.folder))
        self.drain = await Child.start("drain", argv, {drain.URL_VARIABLE: self.rabbitmq.url()}, self._file("drain"))

    async def _start_replicas(self) -> None:
        broker = (self.rabbitmq.host, self.rabbitmq.amqp_port)
        self.replicas = await Replicas.make(self.folder, broker, self.url, relays=self.relays, ordered=self.ordered)
        self.replicas.login(self.amqp_url)
        for each in self.replicas:
            await each.start(self.relay_url)

    @property
    def relay_url(self) -> str:
        """The database, as the relays' own login."""
        return self.postgres.url(DATABASE, LOGIN, self.password)

    @property
    def amqp_url(self) -> str:
        """The broker, as the relays' own login."""
        return self.rabbitmq.url(None, LOGIN, self.password)

    async def start_producers(self) -> None:
        """Let the rows come."""
        argv = [sys.executable, "-m", "chaos.producer", "--folder", str(self.folder), "--seed", str(self.seed)]
        argv += ["--rate", str(self.rate), "--producers", str(self.producers), "--poison-seconds", str(self.poison_s)]
        argv += ["--ordered"] if self.ordered else []
        env = {producer.URL_VARIABLE: self.shop.url(self.url)}
        self.producer = await Child.start("producers", argv, env, self._file("producers"))

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def check(self) -> None:
        """Raise Broken when a process ended that should run."""
        for child in (self.producer, self.drain):
            if child is not None:
                child.check()
        self.replicas.check()

    # -- what the nemesis does to the broker through its management API, and undoes ------------------------------

    def change_password(self, password: str) -> None:
        """Give the relays' login another password. Blocks."""
        self.rabbitmq.api("PUT", f"/api/users/{LOGIN}", {"password": password, "tags": ""})

    def permit(self, *, write: str) -> None:
        """Say where the relays may publish, as a regular expression. Blocks."""
        rights = {"configure": "^$", "write": write, "read": "^$"}
        self.rabbitmq.api("PUT", f"/api/permissions/%2F/{LOGIN}", rights)

    async def declare(self) -> None:
        """Make what consumers declare: the exchange, the queue, its bindings. Safe to repeat."""
        async with await self.admin() as connection, connection.channel() as channel:
            exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
            queue = await channel.declare_queue(drain.QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
            for key in BINDINGS:
                await queue.bind(exchange, key)

    async def admin(self) -> aio_pika.abc.AbstractConnection:
        """Connect to the broker with all rights, without a proxy."""
        return await aio_pika.connect(self.rabbitmq.url(), timeout=10)

    async def ask(self, query: LiteralString, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run one statement on the database as its superuser; its rows."""
        return await self.in_thread(lambda: self.postgres.admin(query, params, database=DATABASE))

    # -- the end -------------------------------------------------------------------------------------------------

    async def stop_producers(self) -> None:
        """Let no more rows come. Raises Broken when they end badly."""
        assert self.producer is not None
        if code := await self.producer.terminate():
            raise Broken(f"The producers ended with exit code {code}.\n{self.producer.tail()}")

    async def finish_drain(self) -> None:
        """Send the last message of all, and wait until the drain has seen it. Raises Broken."""
        assert self.drain is not None
        async with await self.admin() as connection, connection.channel() as channel:
            last = aio_pika.Message(b"", message_id=drain.END, delivery_mode=2)
            await channel.default_exchange.publish(last, drain.QUEUE)
        self.drain.ending = signal.SIGTERM
        try:
            async with asyncio.timeout(PATIENCE_S):
                code = await self.drain.ended()
        except TimeoutError:
            raise Broken(f"The drain did not see the end.\n{self.drain.tail()}") from None
        if code:
            raise Broken(f"The drain ended with exit code {code}.\n{self.drain.tail()}")

    async def close(self) -> None:
        """Take everything down, whatever state it is in; the folder with the history stays."""
        for child in (self.producer, self.drain):
            if child is not None:
                await child.kill()
        if hasattr(self, "replicas"):
            await self.replicas.close()
        if hasattr(self, "shop"):
            await self.shop.close()
        await asyncio.gather(*self._works, return_exceptions=True)
        for server in ("rabbitmq", "postgres"):
            if hasattr(self, server):
                await asyncio.to_thread(getattr(self, server).close)
        self.log.close()
