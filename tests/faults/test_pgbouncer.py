"""The relay behind PgBouncer in transaction mode: each transaction may meet another session, and none is kept."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest

from services.find import OwnPostgres
from services.pgbouncer import PgBouncer
from services.standby import Standby
from tests.builders import Amqp, Database, eventually, message_ids
from tests.running import RelayProcess, command, environment, relay

pytestmark = pytest.mark.timeout(180)

MakeDatabase = Callable[..., tuple[OwnPostgres, Database]]
MakePooler = Callable[..., PgBouncer]


@pytest.fixture
async def outbox(own_database: MakeDatabase) -> tuple[OwnPostgres, Database]:
    """A server to break, and the service's database on it."""
    return await asyncio.to_thread(own_database)


def behind(pooler: PgBouncer, db: Database, options: str = "") -> Database:
    """The same database through the pooler."""
    return Database(pooler.url(db.name) + options, db.name)


async def all_sent(db: Database, rows: int) -> None:
    """Wait until that many rows are sent, each claimed once and none charged."""

    async def sent() -> None:
        found = await db.fetch("SELECT status, claims, failures, count(*) FROM {table} GROUP BY 1, 2, 3")
        assert found == [("sent", 1, 0, rows)]

    await eventually(sent, 45)


def ticked(process: RelayProcess, so_far: int) -> bool:
    """It has moved rows since."""
    return len(process.seen("tick")) > so_far


async def test_three_relays_share_few_sessions_and_send_each_row_once(
    outbox: tuple[OwnPostgres, Database], own_pgbouncer: MakePooler, amqp: Amqp
) -> None:
    server, db = outbox
    pooler = await asyncio.to_thread(own_pgbouncer, server, default_pool_size="3")
    pooled = behind(pooler, db)
    await amqp.queue("all", "orders")
    await db.insert(n=3000)
    async with AsyncExitStack() as stack:
        relays = [
            await stack.enter_async_context(relay(pooled, amqp, BATCH_SIZE=100, NAME=f"relay-{number}"))
            for number in range(3)
        ]
        await all_sent(db, 3000)
        assert sum(bool(process.seen("tick")) for process in relays) > 1, "one did it all, so nothing was shown"
        assert [await process.stop() for process in relays] == [0, 0, 0]
    assert len(arrived := message_ids(await amqp.drain("all", 3000, 30))) == len(set(arrived)) == 3000


async def test_the_tables_health_is_seen_through_the_pooler(
    outbox: tuple[OwnPostgres, Database], own_pgbouncer: MakePooler, amqp: Amqp
) -> None:
    server, db = outbox
    pooled = behind(await asyncio.to_thread(own_pgbouncer, server, default_pool_size="2"), db)
    await amqp.queue("all", "orders")
    await db.insert(status="failed", last_error="unroutable: x")
    async with relay(pooled, amqp, HEALTH_SAMPLE_SECONDS=1, NAME="one") as process:

        async def looked() -> dict[str, Any]:
            page = await process.status()
            assert page["table"] is not None
            return page

        first = await eventually(looked, 20)
        assert [row["row_id"] for row in first["failures"]] == [1]
        assert "one" in [replica["name"] for replica in first["replicas"]]

        async def again() -> None:
            assert (await looked())["table"]["sampled_at"] > first["table"]["sampled_at"]

        await eventually(again, 20)
        assert process.seen("health.sample_failed") == []
        assert await process.stop() == 0


async def test_sigterm_repeats_nothing(
    outbox: tuple[OwnPostgres, Database], own_pgbouncer: MakePooler, amqp: Amqp
) -> None:
    server, db = outbox
    pooled = behind(await asyncio.to_thread(own_pgbouncer, server), db)
    await amqp.queue("all", "orders")
    await db.insert(n=3000)
    for _ in range(2):
        async with relay(pooled, amqp, BATCH_SIZE=50) as process:
            await process.says("tick")
            assert await process.stop() == 0
        assert await db.fetch("SELECT count(*) FROM {table} WHERE claimed_until IS NOT NULL") == [(0,)]
        assert (await db.statuses()).get("pending", 0) > 0, "it was through before the signal, so nothing was shown"
    async with relay(pooled, amqp, "--drain") as process:
        assert await process.ended() == 0
    await all_sent(db, 3000)
    assert len(message_ids(await amqp.drain("all", 3000, 30))) == 3000


async def test_a_pooler_and_sessions_that_die_cost_no_row_an_attempt(
    outbox: tuple[OwnPostgres, Database], own_pgbouncer: MakePooler, amqp: Amqp
) -> None:
    server, db = outbox
    pooler = await asyncio.to_thread(own_pgbouncer, server)
    await amqp.queue("all", "orders")
    await db.insert(n=3000)
    async with relay(behind(pooler, db), amqp, BATCH_SIZE=50) as process:
        await process.says("tick")
        await asyncio.to_thread(pooler.restart)
        ended = "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity WHERE application_name ~ 'relay'"

        async def some_ended() -> bool:
            return await db.fetch(ended) == [(True,)]

        for _ in range(3):
            so_far = len(process.seen("tick"))
            await db.insert(n=200)  # however fast the others went
            await eventually(partial(ticked, process, so_far), 20)
            await eventually(some_ended, 20)  # a batch may end with its marks deferred, and no session in the database
        await all_sent(db, 3600)
        assert await process.stop() == 0
    arrived = message_ids(await amqp.drain("all", 3600, 20))
    assert len(set(arrived)) == 3600
    assert len(arrived) == 3600, "what was confirmed is marked, never published again"


async def test_a_standby_behind_the_pooler_is_an_outage_until_it_is_promoted(
    outbox: tuple[OwnPostgres, Database],
    own_pgbouncer: MakePooler,
    own_standby: Callable[[OwnPostgres], Standby],
    amqp: Amqp,
) -> None:
    server, db = outbox
    pooler = await asyncio.to_thread(own_pgbouncer, server)
    standby = await asyncio.to_thread(own_standby, server)
    await amqp.queue("all", "orders")
    async with relay(behind(pooler, db, "?target_session_attrs=any"), amqp, OUTAGE_SLEEP_SECONDS=1) as process:
        await db.insert(n=10)
        await all_sent(db, 10)
        await eventually(lambda: standby.caught_up)
        pooler.point_at(standby)
        await asyncio.to_thread(pooler.reload)
        await process.says("outage.began", side="database", reason="read_only")
        await asyncio.to_thread(standby.promote)
        after = Database(standby.url(db.name), db.name)
        await after.insert(n=10)
        await all_sent(after, 20)
        await after.close()
        assert await process.stop() == 0
    assert len(set(message_ids(await amqp.drain("all", 20)))) == 20


async def test_the_commands_work_through_the_pooler(
    outbox: tuple[OwnPostgres, Database], own_pgbouncer: MakePooler, amqp: Amqp
) -> None:
    server, _ = outbox
    server.create_database("empty")
    pooler = await asyncio.to_thread(own_pgbouncer, server)
    await amqp.queue("all", "orders")
    pooled = environment(pooler.url("service"), amqp.url)
    commands = (("check",), ("status",), ("migrate", "status"), ("cleanup",), ("retry", "--dry-run"))
    for code, out, err in await asyncio.gather(*(command(pooled, *words) for words in commands)):
        assert code == 0, (out, err)
    empty = environment(pooler.url("empty"), amqp.url)
    code, out, err = await command(empty, "migrate", "up")
    assert code == 0, (out, err)
    assert (await command(empty, "migrate", "down", "--yes"))[0] == 0
