"""Postgres fails over while the relay works: what is kept, and what no relay can keep."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import psycopg
import pytest

from services.find import OwnPostgres
from services.standby import Standby
from tests.builders import Database
from tests.stores import a_store, claim, ids, sent

MakeDatabase = Callable[..., tuple[OwnPostgres, Database]]
MakeStandby = Callable[[OwnPostgres], Standby]
ALL = "SELECT message_id FROM outbox.message ORDER BY id"


@dataclass(frozen=True)
class Pair:
    """A primary and its standby; `before` and `after` are the service's database on each."""

    primary: OwnPostgres
    standby: Standby
    before: Database
    after: Database

    @property
    def both(self) -> Database:
        """Leads to whichever of the two takes writes."""
        info = psycopg.conninfo.conninfo_to_dict(self.before.url)
        ports = f"{info['port']},{psycopg.conninfo.conninfo_to_dict(self.after.url)['port']}"
        url = psycopg.conninfo.make_conninfo("", **{**info, "host": "127.0.0.1,127.0.0.1", "port": ports})
        return Database(url, self.before.name)

    async def fail_over(self) -> None:
        """Crash the primary and promote the standby."""
        await asyncio.to_thread(self.primary.kill)
        await asyncio.to_thread(self.standby.promote)


@pytest.fixture
async def pair(own_database: MakeDatabase, own_standby: MakeStandby) -> AsyncIterator[Pair]:
    """Make them."""
    primary, before = await asyncio.to_thread(own_database)
    standby = await asyncio.to_thread(own_standby, primary)
    after = Database(standby.url(before.name), before.name)
    yield Pair(primary, standby, before, after)
    await after.close()


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
        await store.ready()
        await store.settle(taken.token, [sent(taken, row_id) for row_id in ids(taken)])
    assert await pair.after.statuses() == {"sent": 1, "pending": 99}
