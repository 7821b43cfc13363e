"""The stage: two servers of our own, the table, and the processes; everything is taken down again."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from demo import consumer, shop
from demo.history import History
from demo.processes import Broken, Child, output
from demo.vitals import Stethoscope
from services import find
from services.find import OwnPostgres, OwnRabbitMQ
from services.process import free_port

RELAY = Path(sys.executable).with_name("relay")
DATABASE = "shop"
LANES, BATCH_SIZE = 2, 500
IN_HAND_MAX = LANES * BATCH_SIZE
CONFIRM_TIMEOUT_S = 4
LEASE_S = 24
"""The shortest lease the relay accepts beside that timeout, so that the demo need not wait long for a dead relay's."""
READY_S = 60.0
LOOK_S = 0.1
LEASED = """
SELECT count(*), coalesce(extract(epoch FROM max(claimed_until) - now()), 0)::float
FROM outbox.message WHERE status = 'pending' AND claimed_until > now()
"""


@dataclass(frozen=True, slots=True)
class Leased:
    """Rows that a dead relay took with it."""

    rows: int
    seconds: float
    """Until the last of their leases ends."""


class Stage:
    """Everything that runs."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="relay-demo-", dir="/tmp"))
        self.history = History(self.folder / "shop.journal", self.folder / "consumer.journal")
        self.children: list[Child] = []
        self.relay: Child | None = None
        self.shop: Child | None = None
        self.consumer: Child | None = None
        self.port = free_port()
        self._works: list[asyncio.Future[None]] = []
        self._postgres: OwnPostgres | None = None
        self._rabbitmq: OwnRabbitMQ | None = None

    @property
    def postgres(self) -> OwnPostgres:
        """The started server."""
        assert self._postgres is not None
        return self._postgres

    @property
    def rabbitmq(self) -> OwnRabbitMQ:
        """The started broker."""
        assert self._rabbitmq is not None
        return self._rabbitmq

    @property
    def url(self) -> str:
        """Where the shop's tables and the outbox are."""
        return self.postgres.url(DATABASE)

    @property
    def postgres_port(self) -> str:
        """Where it listens, for a person."""
        return str(psycopg.conninfo.conninfo_to_dict(self.url)["port"])

    async def start_servers(self) -> None:
        """Start both at once."""

        def start_postgres() -> None:
            self._postgres = find.own_postgres(engine_first=True)
            self._postgres.create_database(DATABASE)

        def start_rabbitmq() -> None:
            self._rabbitmq = find.own_rabbitmq(engine_first=True)

        # Gathered, so that a failure of one leaves the other time to be there to be stopped.
        works = (self.in_thread(start_postgres), self.in_thread(start_rabbitmq))
        failures = await asyncio.gather(*works, return_exceptions=True)
        for failure in failures:
            if failure is not None:
                raise failure

    async def in_thread(self, work: Callable[[], None]) -> None:
        """Run blocking work on a server; it goes on when we are cancelled, and `close` waits for its end."""
        task = asyncio.ensure_future(asyncio.to_thread(work))
        self._works.append(task)
        await asyncio.shield(task)

    async def migrate(self) -> None:
        """Run `relay migrate up`."""
        await output((str(RELAY), "migrate", "up"), self.relay_environment(), self.folder / "migrate.log")

    def relay_environment(self) -> Mapping[str, str]:
        """Return the settings of the relay; what is not here has its default."""
        return {
            "RELAY_DATABASE_URL": self.url,
            "RELAY_AMQP_URL": self.rabbitmq.url(),
            "RELAY_EXCHANGE": consumer.EXCHANGE,
            "RELAY_NAME": "demo",
            "RELAY_HTTP_HOST": "127.0.0.1",
            "RELAY_HTTP_PORT": str(self.port),
            "RELAY_LANES": str(LANES),
            "RELAY_BATCH_SIZE": str(BATCH_SIZE),
            "RELAY_CONFIRM_TIMEOUT_SECONDS": str(CONFIRM_TIMEOUT_S),
            "RELAY_LEASE_SECONDS": str(LEASE_S),
            "RELAY_SHUTDOWN_GRACE_SECONDS": "10",
            "RELAY_OUTAGE_SLEEP_SECONDS": "1",
            "RELAY_RESCAN_SECONDS": "1",
            "RELAY_BACKLOG_SAMPLE_SECONDS": "1",
        }

    async def start_consumer(self, *, withhold: int) -> None:
        """Start the consumer; it declares the exchange and the queue."""
        argv = (sys.executable, "-m", "demo.consumer", "--journal", str(self.folder / "consumer.journal"))
        env = {consumer.URL_VARIABLE: self.rabbitmq.url()}
        self.consumer = await self._start("consumer", (*argv, "--withhold", str(withhold)), env)

    async def start_shop(self, rate: float) -> None:
        """Start the order service."""
        argv = (sys.executable, "-m", "demo.shop", "--journal", str(self.folder / "shop.journal"))
        self.shop = await self._start("shop", (*argv, "--rate", str(rate)), {shop.URL_VARIABLE: self.url})

    async def start_relay(self) -> None:
        """Start `relay run`."""
        self.relay = await self._start("relay", (str(RELAY), "run"), self.relay_environment())

    async def _start(self, name: str, argv: tuple[str, ...], env: Mapping[str, str]) -> Child:
        child = await Child.start(name, argv, env, self.folder / f"{name}.log")
        self.children.append(child)
        return child

    async def wait_ready(self) -> None:
        """Wait until the queue is there and the relay says it is ready. Raises Broken."""
        ears = Stethoscope(self.port)
        try:
            async with asyncio.timeout(READY_S):
                while not self.history.consumer_ready or not await ears.ready():
                    self.check()
                    self.history.read()
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            told = "\n".join(child.tail() for child in self.children)
            raise Broken(f"The relay and the consumer were not ready within {READY_S:.0f} s.\n{told}") from None
        finally:
            await ears.close()

    def check(self) -> None:
        """Raise Broken when a process ended that should run."""
        for child in self.children:
            child.check()

    def leased(self) -> Leased:
        """Count the rows under a lease; for the narration only. Blocks."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            row = connection.execute(LEASED).fetchone()
        assert row is not None
        return Leased(*row)

    async def close(self) -> None:
        """Take everything down, whatever state it is in."""
        for child in self.children:
            await child.kill()
        await asyncio.gather(*self._works, return_exceptions=True)
        for server in (self._rabbitmq, self._postgres):
            if server is not None:
                await asyncio.to_thread(server.close)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)
