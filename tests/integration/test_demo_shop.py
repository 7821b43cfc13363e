"""The demo's shop and what is made of its journal, against a real Postgres."""

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from demo.history import History
from demo.journal import Fact, Journal
from demo.shop import TABLES, Order, place, serve
from demo.verdict import Fate
from tests.builders import Database

XID = "SELECT pg_current_xact_id()::text"


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "shop")


@pytest.fixture
def read(tmp_path: Path) -> History:
    return History(tmp_path / "shop", tmp_path / "consumer")


@pytest.fixture
def connection(db: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(db.url, autocommit=True) as connection:
        connection.execute(TABLES)
        yield connection


async def test_an_order_and_its_message_are_committed_or_rolled_back_together(
    connection: psycopg.Connection, db: Database, journal: Journal, read: History
) -> None:
    kept, declined = Order("Zoë", "teapot", 1200, declined=False), Order("Ada", "bell", 300, declined=True)

    place(connection, kept, journal)
    place(connection, declined, journal)
    read.read()

    assert {key: order.fate for key, order in read.orders.items()} == {
        kept.id: Fate.COMMITTED,
        declined.id: Fate.ROLLED_BACK,
    }
    assert await db.fetch("SELECT id::text FROM shop.orders") == [(kept.id,)]
    assert await db.fetch("SELECT message_id::text FROM {table}") == [(kept.id,)]


async def test_a_commit_nobody_answered_is_decided_by_its_transaction_not_by_the_outbox(
    connection: psycopg.Connection, db: Database, journal: Journal, read: History
) -> None:
    for message_id in ("committed", "rolled-back"):
        with connection.transaction():
            journal.note(Fact.TRIED, message_id, _xid(connection), "digest")
            if message_id == "rolled-back":
                raise psycopg.Rollback
    async with (await db.connect()).transaction() as open_one:
        (xid,) = await (await open_one.connection.execute(XID)).fetchone() or ("",)
        journal.note(Fact.TRIED, "open", xid, "digest")
        read.read()
        await asyncio.to_thread(read.resolve, db.url, settle_s=0.1)

    assert {key: order.fate for key, order in read.orders.items()} == {
        "committed": Fate.COMMITTED,
        "rolled-back": Fate.ROLLED_BACK,
        "open": Fate.UNKNOWN,
    }


class Cutting(Journal):
    """Ends the shop's connection in the middle of its tenth order, the declined one, and the shop after its twelfth."""

    def __init__(self, path: Path, url: str) -> None:
        super().__init__(path)
        self._url = url
        self._tried = 0

    def note(self, fact: Fact, *words: str) -> None:
        super().note(fact, *words)
        self._tried += fact is Fact.TRIED
        if (fact, self._tried) == (Fact.TRIED, 10):
            with psycopg.connect(self._url, autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'demo shop'"
                )
        elif self._tried == 12:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.usefixtures("connection")
async def test_the_shop_goes_on_when_the_database_goes_away_before_a_rollback(
    db: Database, tmp_path: Path, read: History
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        serve(db.url, Cutting(tmp_path / "shop", db.url), rate=1000, chance=random.Random(1))
    finally:
        signal.signal(signal.SIGTERM, before)
    read.read()
    fates = [order.fate for order in read.orders.values()]
    assert fates == [*[Fate.COMMITTED] * 9, Fate.UNKNOWN, *[Fate.COMMITTED] * 2]


def test_a_line_half_written_is_read_when_it_is_whole(tmp_path: Path, read: History) -> None:
    path = tmp_path / "consumer"
    path.write_text("ready\narrived a dig")
    read.read()
    assert (read.consumer_ready, read.arrivals) == (1, [])

    path.write_text("ready\narrived a digest redelivered\n")
    read.read()
    assert [(each.message_id, each.digest, each.redelivered) for each in read.arrivals] == [("a", "digest", True)]


def _xid(connection: psycopg.Connection) -> str:
    row = connection.execute(XID).fetchone()
    assert row is not None
    return str(row[0])
