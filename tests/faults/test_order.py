"""Order per key through the real command: keys of every kind, a poison row, and replicas that come and go."""

import asyncio
import signal
from collections.abc import Callable, Iterable
from random import Random

import pytest

from relay import migrate
from services.pgbouncer import PgBouncer
from services.postgres import PostgresServer
from tests.builders import Amqp, Database, eventually
from tests.running import RelayProcess, command, environment, relay

ORDERED = {"ORDERING": "key", "NAME": "ordered"}
QUICK = {"RETRY_BASE_SECONDS": 0.05, "RETRY_MAX_SECONDS": 0.1, "RESCAN_SECONDS": 0.5}
LEASE_S = 21.0
"""The shortest that a confirm timeout of 1 s allows."""
KEYS: dict[str, Callable[[int], str | None]] = {
    "uniform": lambda number: f"key {number * 7919 % 100}",
    "one hot": lambda number: "hot" if number % 2 else f"key {number % 200}",
    "hardly any": lambda number: f"key {number}" if number % 100 == 0 else None,
}
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def outbox(db: Database, amqp: Amqp) -> Database:
    """A table with the indexes of the ordering, and a queue that takes what has the key `order.#`."""
    await asyncio.to_thread(migrate.up, db.url, only="ordering")
    await amqp.queue("all", "orders", "order.#")
    return db


async def keyed(db: Database, keys: Iterable[str | None], **columns: str) -> dict[int, str | None]:
    """Commit a row for each of the keys, in this order; the key of each id."""
    given = list(keys)
    ids = await db.insert(n=len(given), key=lambda number: given[number], **columns)
    return dict(zip(ids, given, strict=True))


async def firsts(amqp: Amqp) -> list[int]:
    """Take all that arrived; the rows in the order in which each came first."""
    return list(dict.fromkeys(int(str(message.headers["x-outbox-id"])) for message in await amqp.drain("all")))


def overtaken(arrived: Iterable[int], keys: dict[int, str | None]) -> list[int]:
    """The rows that came after a later one of their key."""
    last: dict[str, int] = {}
    late = []
    for row_id in arrived:
        if (key := keys[row_id]) is not None:
            late += [row_id] if last.setdefault(key, row_id) > row_id else []
            last[key] = row_id
    return late


@pytest.mark.parametrize("kind", KEYS)
async def test_two_relays_keep_the_order_of_every_key(outbox: Database, amqp: Amqp, kind: str) -> None:
    keys = await keyed(outbox, map(KEYS[kind], range(1500)))
    async with relay(outbox, amqp, "--drain", **ORDERED) as one, relay(outbox, amqp, "--drain", **ORDERED) as two:
        assert [await one.ended(60), await two.ended(60)] == [0, 0]
    assert await outbox.statuses() == {"sent": 1500}
    arrived = await firsts(amqp)
    assert sorted(arrived) == sorted(keys)
    assert overtaken(arrived, keys) == []
    if kind == "hardly any":
        assert arrived != sorted(arrived), "nothing holds back a row without a key"


async def test_relays_behind_a_transaction_pooler_keep_the_order_too(
    outbox: Database, amqp: Amqp, postgres: PostgresServer, own_pgbouncer: Callable[..., PgBouncer]
) -> None:
    """Who still writes is asked of the server, not of the session, and a claim's statements share a transaction."""
    pooler = await asyncio.to_thread(own_pgbouncer, postgres, default_pool_size="2")
    pooled = Database(pooler.url(outbox.name), outbox.name)
    keys = await keyed(outbox, map(KEYS["uniform"], range(1500)))
    drain = {**ORDERED, "BATCH_SIZE": 50}
    async with relay(pooled, amqp, "--drain", **drain) as one, relay(pooled, amqp, "--drain", **drain) as two:
        assert [await process.ended(60) for process in (one, two)] == [0, 0]
        assert all(process.seen("tick") for process in (one, two)), "one did it all, so nothing was shown"
    arrived = await firsts(amqp)
    assert (sorted(arrived), overtaken(arrived, keys)) == (sorted(keys), [])


async def test_a_poison_row_holds_its_key_until_it_is_given_up_and_no_other_key(outbox: Database, amqp: Amqp) -> None:
    (before,) = await keyed(outbox, ["a"])
    await keyed(outbox, ["a"], routing_key="nowhere")
    behind = await keyed(outbox, ["a", "b", None, "a"])
    async with relay(outbox, amqp, MAX_FAILURES=4, **ORDERED, **QUICK):
        await eventually(lambda: _settled(outbox))
    assert await outbox.statuses() == {"sent": 5, "failed": 1}
    arrived = await firsts(amqp)
    assert sorted(arrived) == [before, *behind]
    assert [row_id for row_id in arrived if behind.get(row_id) == "a"] == arrived[-2:], "they waited, the others not"


async def test_a_failed_row_stops_its_key_until_it_is_requeued(outbox: Database, amqp: Amqp) -> None:
    (poison,) = await keyed(outbox, ["a"], routing_key="nowhere")
    behind = await keyed(outbox, ["a", "b", None, "a"])
    strict = {**ORDERED, **QUICK, "MAX_FAILURES": 2, "FAILED_BLOCKS_KEY": "true", "BACKLOG_SAMPLE_SECONDS": 1}
    async with relay(outbox, amqp, **strict) as process:
        await eventually(lambda: _statuses(outbox, sent=2, failed=1, pending=2))
        await eventually(lambda: _blocked_keys(process, 1))
        await amqp.queue("all", "orders", "nowhere")
        assert (await command(environment(outbox.url, amqp.url, ORDERED), "retry"))[0] == 0
        await eventually(lambda: _statuses(outbox, sent=5))
    arrived = await firsts(amqp)
    assert overtaken(arrived, behind | {poison: "a"}) == []
    assert arrived.index(poison) == 2


async def test_a_table_without_the_indexes_is_told_with_the_command_that_makes_them(db: Database, amqp: Amqp) -> None:
    settings = {**ORDERED, "FAILED_BLOCKS_KEY": "true"}
    async with relay(db, amqp, **settings) as process:
        await process.port()
        await eventually(lambda: _not_ready(process))
        code, out, _ = await command(environment(db.url, amqp.url, settings), "check")
        assert code == 3
        assert out.count("relay migrate up ordering") == 2
        await asyncio.to_thread(migrate.up, db.url, only="ordering")
        await eventually(lambda: _ready(process))


async def _blocked_keys(process: RelayProcess, count: int) -> None:
    backlog = (await process.status())["backlog"]
    assert backlog is not None
    assert backlog["blocked_keys"] == count


async def _not_ready(process: RelayProcess) -> None:
    code, text = await process.get("/readyz")
    assert (code, "relay migrate up ordering" in text) == (503, True)


async def _ready(process: RelayProcess) -> None:
    assert (await process.get("/readyz"))[0] == 200


async def _settled(db: Database) -> None:
    assert "pending" not in await db.statuses()


async def _statuses(db: Database, **expected: int) -> None:
    assert await db.statuses() == expected


async def test_replicas_that_come_and_go_keep_the_order_of_every_key(outbox: Database, amqp: Amqp) -> None:
    """One is killed, one told to end, one stopped until its leases ran out and then let go on, while rows come in."""
    settings = {**ORDERED, "LEASE_SECONDS": LEASE_S, "CONFIRM_TIMEOUT_SECONDS": 1, "SHUTDOWN_GRACE_SECONDS": 10}
    settings |= {"BATCH_SIZE": 50}
    luck = Random(4)
    keys: dict[int, str | None] = {}

    async def produce(rounds: int) -> None:
        for _ in range(rounds):
            keys.update(
                await keyed(outbox, (luck.choice(["a", "b", "c", f"k{luck.random()}", None]) for _ in range(40)))
            )

    async with (
        relay(outbox, amqp, **settings) as killed,
        relay(outbox, amqp, **settings) as ended,
        relay(outbox, amqp, **settings) as stopped,
    ):
        for each in (killed, ended, stopped):
            await each.says("relay.started")
        await produce(5)
        stopped.signal(signal.SIGSTOP)
        await produce(5)
        killed.signal(signal.SIGKILL)
        await produce(5)
        assert await ended.stop() == 0
        async with relay(outbox, amqp, **settings) as fresh:
            await produce(5)
            await eventually(lambda: _settled(outbox), LEASE_S + 20)
            stopped.signal(signal.SIGCONT)
            await produce(5)
            await eventually(lambda: _settled(outbox), 20)
            assert [await fresh.stop(), await stopped.stop()] == [0, 0]
    arrived = await firsts(amqp)
    assert sorted(arrived) == sorted(keys)
    assert overtaken(arrived, keys) == []
