"""Postgres fails over while the relay works: what is kept, and what no relay can keep."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from uuid import UUID

import psycopg
import pytest

from relay.ports import StoreUnavailable
from relay.store.pool import FRESH_S
from services.find import OwnPostgres
from services.postgres import Postgres
from services.standby import Standby
from tests.builders import Amqp, Database, eventually, message_ids
from tests.running import relay
from tests.stores import a_store, backend_pids, claim, ids, sent

pytestmark = pytest.mark.timeout(180)

MakeDatabase = Callable[..., tuple[OwnPostgres, Database]]
MakeStandby = Callable[[OwnPostgres], Standby]
INSERT = """
    INSERT INTO outbox.message (routing_key, payload) SELECT 'order.created', '{}' FROM generate_series(1, 5)
    RETURNING message_id
"""
ALL = "SELECT message_id FROM outbox.message ORDER BY id"


@dataclass(frozen=True)
class Pair:
    """A primary and its standby; `before` and `after` are the service's database on each."""

    primary: Postgres
    standby: Standby
    before: Database
    after: Database

    @property
    def both(self) -> Database:
        """Leads to whichever of the two takes writes."""
        hosts = f"@127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}/"
        url = re.sub("@[^/]+/", hosts, self.before.url, count=1)
        return Database(url, self.before.name)

    async def fail_over(self) -> None:
        """Crash the primary and promote the standby."""
        await asyncio.to_thread(self.primary.kill)
        await asyncio.to_thread(self.standby.promote)

    async def cancel_the_wait(self) -> None:
        """Cancel the commit that waits for the standby, as an operator might."""
        cancelled = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        assert await self.before.fetch(cancelled) == [(True,)]


@pytest.fixture
async def pair(own_database: MakeDatabase, own_standby: MakeStandby) -> AsyncIterator[Pair]:
    """Make them."""
    primary, before = await asyncio.to_thread(own_database)
    standby = await asyncio.to_thread(own_standby, primary)
    assert isinstance(primary, Postgres)
    after = Database(standby.url(before.name), before.name)
    yield Pair(primary, standby, before, after)
    await after.close()


async def produce(db: Database, transactions: int) -> set[UUID]:
    """Commit rows, five a transaction, until so many transactions were answered; their message ids."""
    committed: set[UUID] = set()
    while len(committed) < 5 * transactions:
        try:
            async with await psycopg.AsyncConnection.connect(db.url, target_session_attrs="read-write") as connection:
                while len(committed) < 5 * transactions:
                    cursor = await connection.execute(INSERT)
                    new = {message_id for (message_id,) in await cursor.fetchall()}
                    await connection.commit()
                    committed |= new
        except psycopg.OperationalError:
            await asyncio.sleep(0.1)
    return committed


async def all_sent(db: Database) -> None:
    """Wait until no row waits; none may have been charged."""

    async def sent() -> None:
        found = await db.fetch("SELECT DISTINCT status, failures FROM {table}")
        assert found == [("sent", 0)]

    await eventually(sent, 45)


async def test_a_stores_mark_spares_another_row_that_got_the_id_after_a_failover(pair: Pair) -> None:
    await pair.before.insert()
    pair.standby.fall_behind()
    await pair.before.insert(n=99)
    async with a_store(pair.both.url) as store:
        taken = await claim(store)
        assert len(taken.rows) == 100
        await store.settle(taken.token, [sent(taken, row_id) for row_id in ids(taken)])
        await pair.fail_over()
        reused = set(await pair.after.insert(n=99)) & set(ids(taken))
        assert len(reused) > 50

        async def settled() -> bool:
            try:
                await store.ready()
                await store.settle(taken.token, [sent(taken, row_id) for row_id in ids(taken)])
            except StoreUnavailable:  # a backend of the dead primary may answer once more
                return False
            return True

        await eventually(settled)
    assert await pair.after.statuses() == {"sent": 1, "pending": 99}


async def test_behind_a_synchronous_standby_a_failover_loses_nothing_and_invents_nothing(
    pair: Pair, amqp: Amqp
) -> None:
    await amqp.queue("all", "orders")
    await asyncio.to_thread(pair.standby.be_waited_for)
    async with relay(pair.both, amqp, BATCH_SIZE=50) as process:
        producer = asyncio.create_task(produce(pair.both, 400))
        await eventually(lambda: len(process.seen("tick")) > 20, 20)
        await pair.fail_over()
        committed = await producer
        await all_sent(pair.after)
        assert await process.stop() == 0
    there = {message_id for (message_id,) in await pair.after.fetch(ALL)}
    arrived = message_ids(await amqp.drain("all", len(there), 30))
    assert committed - set(arrived) == set(), "lost"
    assert set(arrived) - there == set(), "phantoms"
    assert there - set(arrived) == set(), "sent, but never published"
    assert len(arrived) - len(there) <= 2 * 50
    assert not process.seen("outage.began", side="broker")


async def test_no_row_is_handed_out_by_a_claim_that_the_standby_may_not_have(pair: Pair) -> None:
    """Postgres reports success when somebody cancels the wait of a commit, and only warns."""
    await asyncio.to_thread(pair.standby.be_waited_for)
    pair.standby.fall_behind()
    producer = await pair.before.connect()
    await producer.execute("SET synchronous_commit = local")
    await producer.execute(INSERT)
    async with a_store(pair.both.url) as store:
        await store.ready()
        taking = asyncio.create_task(claim(store))
        await eventually(pair.cancel_the_wait)
        with pytest.raises(StoreUnavailable, match="standby"):
            await taking
        pair.standby.catch_up()
        await store.ready()
        assert [row.claims for row in (await claim(store)).rows] == [1] * 5


async def test_marks_written_again_are_not_there_until_the_standby_has_them(pair: Pair) -> None:
    """Believed to be there, they would be forgotten, and a failover could lose them."""
    await pair.before.insert(n=5)
    async with a_store(pair.both.url) as store:
        taken = await claim(store)
        await store.settle(taken.token, [sent(taken, row_id) for row_id in ids(taken)])
        await asyncio.to_thread(pair.standby.be_waited_for)
        pair.standby.fall_behind()
        crashed = await pair.before.connect()
        await crashed.execute("SET synchronous_commit = local")
        await crashed.execute("UPDATE outbox.message SET status = 'pending', sent_at = NULL")
        for pid in await backend_pids(pair.before):
            await crashed.execute("SELECT pg_terminate_backend(%s)", (pid,))
        await asyncio.sleep(FRESH_S)
        await store.ping()  # finds the dead connections
        marking = asyncio.create_task(store.ready())
        await eventually(pair.cancel_the_wait)
        with pytest.raises(StoreUnavailable, match="standby"):
            await marking
        pair.standby.catch_up()
        await store.ready()
    assert await pair.before.statuses() == {"sent": 5}


async def test_behind_a_standby_that_lags_only_what_it_never_received_is_beyond_the_promise(
    pair: Pair, amqp: Amqp
) -> None:
    await amqp.queue("all", "orders")
    async with relay(pair.both, amqp) as process:
        await pair.before.insert(n=50)
        await all_sent(pair.before)
        await eventually(lambda: pair.standby.caught_up)
        pair.standby.fall_behind()
        await pair.before.insert(n=300)
        vanished = {message_id for (message_id,) in (await pair.before.fetch(ALL))[50:]}
        await all_sent(pair.before)
        process.signal(signal.SIGSTOP)  # so that new rows have the old ids before the relay knows
        await pair.fail_over()
        before = await pair.after.fetch("SELECT max(id) FROM {table}")
        await pair.after.insert(n=300)
        assert before < await pair.after.fetch("SELECT min(id) FROM {table} WHERE status = 'pending'") < [(350,)]
        process.signal(signal.SIGCONT)
        await all_sent(pair.after)
        assert await process.stop() == 0
    there = {message_id for (message_id,) in await pair.after.fetch(ALL)}
    arrived = message_ids(await amqp.drain("all", 650, 30))
    assert len(there) == 350
    assert there - set(arrived) == set(), "lost"
    assert set(arrived) - there == vanished, "phantoms are the rows that the failover erased, and no others"
    assert len(arrived) == 650, "duplicates"


async def test_marks_that_a_standby_never_received_are_repeated_once(pair: Pair, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    await pair.before.insert(n=100)
    await eventually(lambda: pair.standby.caught_up)
    pair.standby.fall_behind()
    async with relay(pair.both, amqp) as process:
        await all_sent(pair.before)
        process.signal(signal.SIGKILL)  # nobody is left who knows
    await pair.fail_over()
    async with relay(pair.both, amqp) as process:
        await all_sent(pair.after)
        assert await process.stop() == 0
    arrived = message_ids(await amqp.drain("all", 200, 30))
    assert len(arrived) == 200
    assert len(set(arrived)) == 100


async def test_a_demoted_primary_is_left_for_the_promoted_one(pair: Pair, amqp: Amqp) -> None:
    """Two primaries at once: the relay stays with the one it knows until that takes no writes any more."""
    await amqp.queue("all", "orders")
    async with relay(pair.both, amqp) as process:
        await pair.before.insert(n=20)
        await all_sent(pair.before)
        await eventually(lambda: pair.standby.caught_up)
        await asyncio.to_thread(pair.standby.promote)
        await pair.after.insert(n=30)
        await pair.before.insert(n=10)
        await all_sent(pair.before)
        assert await pair.after.statuses() == {"sent": 20, "pending": 30}
        await pair.before.close()
        await asyncio.to_thread(demote, pair.primary)
        await process.says("outage.began", side="database")
        await all_sent(pair.after)
        assert await process.stop() == 0
    assert len(set(message_ids(await amqp.drain("all", 60, 30)))) == 60


def demote(server: Postgres) -> None:
    """Bring an old primary back as a standby, which takes reads and no writes."""
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
