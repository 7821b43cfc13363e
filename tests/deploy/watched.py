"""Two relays under load, read by a Prometheus of our own through an outage of either server."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from demo import shop
from demo.processes import Child
from relay import migrate
from services import find
from services.find import OwnPostgres, OwnRabbitMQ
from services.prometheus import Prometheus
from tests.builders import Amqp, Database
from tests.deploy.rulebook import hastened
from tests.running import RelayProcess, command, environment, start

PODS = ("a", "b")
LABELS = {"namespace": "shop", "job": "relay"}
RATE = 200.0
LOOK_S = 0.2
SEEN_S = 60.0
HASTE = 60
"""An alert that waits for five minutes waits for five seconds here."""
SETTINGS = {
    "BACKLOG_SAMPLE_SECONDS": 1,
    "HEALTH_SAMPLE_SECONDS": 1,
    "OUTAGE_SLEEP_SECONDS": 1,
    "MAX_FAILURES": 2,
    "RETRY_BASE_SECONDS": 0.1,
}
BUSY = 'sum(rate(relay_messages_total{outcome="confirmed"}[5s])) > 50 and max(relay_outage) == 0'
STILL = 'sum(rate(relay_messages_total{outcome="confirmed"}[5s])) == 0'
EMPTIED = 'max(relay_outbox_oldest_pending_age_seconds) < 2 and max(relay_outbox_rows{state="pending"}) < 500'


@dataclass(frozen=True, slots=True)
class Watched:
    """What is there to be asked when the story is over; times are Unix times."""

    prometheus: Prometheus
    begin: float
    end: float
    outage: tuple[float, float]
    """Some seconds in which the broker was away and everybody knew it."""
    fired: dict[str, dict[str, Any]]
    """The alerts that were waited for, each as it was when it fired."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What the story is played with."""

    postgres: OwnPostgres
    rabbitmq: OwnRabbitMQ
    db: Database
    shop: Child
    prometheus: Prometheus

    async def sees(self, expression: str) -> None:
        """Wait until Prometheus finds something."""
        deadline = time.monotonic() + SEEN_S
        while not await asyncio.to_thread(self.prometheus.now, expression):
            self.shop.check()
            assert time.monotonic() < deadline, f"in {SEEN_S:g} s Prometheus has not seen {expression}"
            await asyncio.sleep(LOOK_S)

    async def fires(self, name: str) -> dict[str, Any]:
        """Wait until an alert fires; it with its annotations."""
        await self.sees(f'ALERTS{{alertname="{name}", alertstate="firing"}}')
        [rule] = [each for each in await asyncio.to_thread(self.prometheus.rules) if each["name"] == name]
        [alert] = rule["alerts"]
        found: dict[str, Any] = alert
        return found

    async def refuse_some(self) -> None:
        """Have rows given up: three that no queue wants, one that cannot be a message."""
        await self.db.insert(n=3, routing_key="nowhere")
        await self.db.insert(headers={"half": 0.5}, routing_key="order.placed")
        await self.sees('max(relay_outbox_rows{state="failed"}) == 4')

    async def trouble_the_table(self) -> None:
        """Hold an old snapshot for a moment, delete sent rows, and let autovacuum come by."""
        async with await psycopg.AsyncConnection.connect(self.db.url) as idle:
            await idle.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            await idle.execute("SELECT 1")
            await self.sees('max(relay_outbox_oldest_snapshot_age_seconds{holder="transaction"}) > 1')
        await self.db.fetch("SELECT outbox.delete_sent(interval '0 seconds', 2000)")
        await self.sees("max(relay_outbox_last_autovacuum_timestamp_seconds) > 0")

    async def lose_the_broker(self) -> tuple[dict[str, Any], tuple[float, float]]:
        """Stop it until the alert fires, and start it; the alert, and when."""
        await asyncio.to_thread(self.rabbitmq.stop)
        fired = await self.fires("OutboxBrokerOutage")
        began = time.time()
        await self.sees(STILL)
        ended = time.time()
        await asyncio.to_thread(self.rabbitmq.start)
        await self.sees(f"{BUSY} and {EMPTIED}")
        return fired, (began, ended)

    async def lose_the_database(self) -> dict[str, Any]:
        """Stop it until the alert fires, and start it; the alert."""
        await asyncio.to_thread(self.postgres.stop)
        fired = await self.fires("OutboxDatabaseOutage")
        await asyncio.to_thread(self.postgres.start)
        await self.sees(f"{BUSY} and {EMPTIED}")
        return fired


@asynccontextmanager
async def played(folder: Path) -> AsyncIterator[Watched]:
    """Play the story; at its end only Prometheus is left."""
    begin = time.time()
    async with AsyncExitStack() as until_the_end:
        async with AsyncExitStack() as meanwhile:
            postgres, rabbitmq = await _servers(meanwhile)
            db = Database(postgres.url("service"), "service")
            meanwhile.push_async_callback(db.close)
            relays = [await _relay(meanwhile, db, rabbitmq, pod) for pod in PODS]
            targets = {
                f"127.0.0.1:{await relay.port()}": {"namespace": "shop", "pod": pod}
                for relay, pod in zip(relays, PODS, strict=True)
            }
            prometheus = await asyncio.to_thread(Prometheus, job="relay", targets=targets, rules=hastened(HASTE))
            until_the_end.callback(prometheus.close)
            stage = Stage(postgres, rabbitmq, db, await _shop(meanwhile, db, folder), prometheus)
            await stage.sees(f"{BUSY} and sum(relay_messages_total) > 2000")
            await stage.refuse_some()
            fired = {name: await stage.fires(name) for name in ("OutboxMessagesUnroutable", "OutboxRowsFailed")}
            await stage.trouble_the_table()
            await db.close()
            fired["OutboxBrokerOutage"], outage = await stage.lose_the_broker()
            fired["OutboxDatabaseOutage"] = await stage.lose_the_database()
            end = time.time()
        fired["OutboxRelayDown"] = await stage.fires("OutboxRelayDown")
        yield Watched(prometheus, begin, end, outage, fired)


async def _servers(stack: AsyncExitStack) -> tuple[OwnPostgres, OwnRabbitMQ]:
    """A database with the table and the doorbell, and a broker with a queue for orders and for nothing else."""
    postgres = await asyncio.to_thread(find.own_postgres, settings={"autovacuum_naptime": "1s"})
    stack.callback(postgres.close)
    rabbitmq = await asyncio.to_thread(find.own_rabbitmq)
    stack.callback(rabbitmq.close)
    await asyncio.to_thread(postgres.create_database, "service")
    await asyncio.to_thread(migrate.apply, postgres.url("service"))
    code, _, said = await command(environment(postgres.url("service"), rabbitmq.url()), "doorbell", "enable")
    assert code == 0, said
    amqp = Amqp(rabbitmq.url(), "/")
    await amqp.queue("all", "orders", "order.#")
    await amqp.close(remove=False)
    return postgres, rabbitmq


async def _relay(stack: AsyncExitStack, db: Database, rabbitmq: OwnRabbitMQ, pod: str) -> RelayProcess:
    relay = await start(environment(db.url, rabbitmq.url(), SETTINGS | {"NAME": pod}))
    stack.push_async_callback(relay.close)
    return relay


async def _shop(stack: AsyncExitStack, db: Database, folder: Path) -> Child:
    """Orders at a steady pace, whatever becomes of the servers."""
    argv = (sys.executable, "-m", "demo.shop", "--journal", str(folder / "shop.journal"), "--rate", str(RATE))
    child = await Child.start("shop", argv, {shop.URL_VARIABLE: db.url}, folder / "shop.log")
    stack.push_async_callback(child.kill)
    return child
