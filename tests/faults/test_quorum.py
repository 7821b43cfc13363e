"""A quorum queue on three nodes, and nodes that freeze, stop and die: nothing is lost and nobody blamed."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Self
from uuid import UUID

import pytest

from services.cluster import Cluster
from services.rabbitmq import RabbitMQ
from tests.builders import Amqp, Database, eventually, message_ids
from tests.running import relay

VARIABLE = "RELAY_TEST_CLUSTER"
BATCH, LANES = 50, 2
IN_FLIGHT = BATCH * LANES
"""Rows that one lost connection may repeat."""
PATIENT = {"BATCH_SIZE": BATCH, "LANES": LANES}
HASTY = PATIENT | {"CONFIRM_TIMEOUT_SECONDS": 2, "LEASE_SECONDS": 22, "SHUTDOWN_GRACE_SECONDS": 5}
PAUSE_S = 0.02
INSERT = "INSERT INTO outbox.message (routing_key, payload) SELECT 'order.created', '{}' FROM generate_series(1, 25)"

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not os.environ.get(VARIABLE), reason=f"takes minutes: `make test-cluster`, or set {VARIABLE}"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes; every test leaves all of them running."""
    nodes = Cluster()
    yield nodes
    nodes.close()


@pytest.fixture
def leader(cluster: Cluster) -> RabbitMQ:
    """The node that leads the quorum queue."""
    return cluster.nodes[0]


@pytest.fixture
async def quorum(leader: RabbitMQ) -> AsyncIterator[Amqp]:
    """A quorum queue of three members, led by the node at which it was declared."""
    part = Amqp(leader.url(), "/")
    await part.queue("all", "orders", x_queue_type="quorum")
    yield part
    await part.close(remove=True)


@contextmanager
def frozen(nodes: Sequence[RabbitMQ]) -> Iterator[None]:
    """Stop those nodes in the midst of what they do, for as long as the block lasts."""
    for node in nodes:
        node.pause()
    try:
        yield
    finally:
        for node in nodes:
            node.resume()


class Traffic:
    """A producer that commits rows, and takes every tenth transaction back, for as long as the block lasts."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._produce())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        assert self._task is not None
        await self._task

    async def _produce(self) -> None:
        connection = await self._db.connect()
        turn = 0
        while not self._stop.is_set():
            turn += 1
            async with connection.transaction(force_rollback=turn % 10 == 0):
                await connection.execute(INSERT)
            await asyncio.sleep(PAUSE_S)


async def all_sent(db: Database) -> list[UUID]:
    """Wait until every row is sent and none was ever charged; their message ids."""

    async def sent() -> None:
        found = await db.fetch("SELECT status, sum(failures)::int FROM {table} GROUP BY status")
        assert found == [("sent", 0)]

    await eventually(sent, 60)
    return [row[0] for row in await db.fetch("SELECT message_id FROM {table}")]


async def judged(db: Database, queue: Amqp) -> int:
    """Compare what was committed with what arrived: nothing lost, nothing from nowhere; how many came again."""
    committed = set(await all_sent(db))
    arrived = Counter(message_ids(await queue.drain("all", len(committed), 30)))
    assert set(arrived) == committed
    return arrived.total() - len(committed)


def addresses(cluster: Cluster, first: Amqp) -> Amqp:
    """The same queue, at a URL that names every node."""
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)
    return Amqp(first.url.replace(f"127.0.0.1:{cluster.nodes[0].port}", hosts), first.vhost)


def doubts(metrics: str, reason: str) -> int:
    """How many rows may arrive twice for that reason."""
    name = f'relay_duplicates_possible_total{{reason="{reason}"}} '
    return int(float(next(line for line in metrics.splitlines() if line.startswith(name)).removeprefix(name)))


async def test_without_a_majority_rows_wait_and_go_out_when_it_is_back(
    db: Database, cluster: Cluster, quorum: Amqp
) -> None:
    await db.insert(n=5)
    async with relay(db, quorum, **HASTY) as process:
        await all_sent(db)
        with frozen(cluster.nodes[1:]):
            await db.insert(n=600)
            await process.says("outage.began", side="broker", reason="timeout")
            await eventually(lambda: len(process.seen("tick", claimed=1, unreachable=1)) >= 2, 30)  # probes in vain
            charged = await db.fetch("SELECT DISTINCT status, failures FROM {table} ORDER BY status")
            assert charged == [("pending", 0), ("sent", 0)]
            assert await db.fetch("SELECT count(*) <= 1 FROM {table} WHERE status = 'pending' AND claims > 0") == [
                (True,)
            ]
        again = await judged(db, quorum)
        await process.says("outage.ended", side="broker")
        probes = len(process.seen("tick", claimed=1, unreachable=1))
        assert 0 < again <= doubts((await process.get("/metrics"))[1], "confirm_timeout") <= IN_FLIGHT + probes
        assert await process.stop() == 0
        assert not process.seen("outage.began", reason="lost")


async def test_a_majority_that_is_back_before_the_confirm_timeout_costs_not_even_a_duplicate(
    db: Database, cluster: Cluster, quorum: Amqp
) -> None:
    await db.insert(n=5)
    async with relay(db, quorum, **PATIENT, CONFIRM_TIMEOUT_SECONDS=28, LEASE_SECONDS=48) as process:
        await all_sent(db)
        with frozen(cluster.nodes[1:]):
            await db.insert(n=IN_FLIGHT)
            await eventually(lambda: held(db), 10)
            [(first,)] = await db.fetch("SELECT max(claimed_until) FROM {table}")

            async def renewed() -> None:
                [(longer,)] = await db.fetch("SELECT min(claimed_until) FROM {table} WHERE status = 'pending'")
                assert longer > first

            await eventually(renewed, 28)
        assert await judged(db, quorum) == 0
        assert await process.stop() == 0
    assert not process.seen("outage.began")


async def held(db: Database) -> None:
    """Every pending row is in the relay's hands."""
    assert await db.fetch("SELECT count(*) FROM {table} WHERE claimed_until > now()") == [(IN_FLIGHT,)]


async def test_a_node_that_stops_is_not_missed(db: Database, cluster: Cluster, quorum: Amqp) -> None:
    async with relay(db, quorum, **HASTY) as process:
        async with Traffic(db):
            await process.says("tick")
            await asyncio.to_thread(cluster.nodes[2].stop)
            try:
                ticks = len(process.seen("tick"))
                await eventually(lambda: len(process.seen("tick")) >= ticks + 10)
            finally:
                await asyncio.to_thread(cluster.nodes[2].start)
        assert await judged(db, quorum) == 0
        assert await process.stop() == 0
    assert not process.seen("outage.began")


async def test_a_killed_leader_is_replaced_and_the_relay_finds_another_node(
    db: Database, cluster: Cluster, leader: RabbitMQ, quorum: Amqp
) -> None:
    async with relay(db, addresses(cluster, quorum), **HASTY) as process:
        async with Traffic(db):
            await process.says("tick")
            await asyncio.to_thread(leader.kill)
            try:
                ticks = len(process.seen("tick"))
                await eventually(lambda: len(process.seen("tick")) >= ticks + 10, 30)
            finally:
                await asyncio.to_thread(leader.start)
        again = await judged(db, quorum)
        probes = len(process.seen("tick", claimed=1, unreachable=1))
        assert again <= IN_FLIGHT * len(process.seen("outage.began")) + probes
        assert await process.stop() == 0


async def test_a_rolling_restart_loses_nothing(db: Database, cluster: Cluster, quorum: Amqp) -> None:
    async with relay(db, addresses(cluster, quorum), **HASTY) as process:
        async with Traffic(db):
            await process.says("tick")
            for node in cluster.nodes:
                await asyncio.to_thread(node.restart)
        again = await judged(db, quorum)
        probes = len(process.seen("tick", claimed=1, unreachable=1))
        assert again <= IN_FLIGHT * len(process.seen("outage.began")) + probes
        assert await process.stop() == 0
