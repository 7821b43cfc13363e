"""A store on a test's database, opened and closed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from uuid import UUID

from psycopg import sql

from relay import migrate
from relay.model import Claim, Sent
from relay.store import PostgresStore, StoreConfig
from services.postgres import PostgresServer
from tests.builders import Database

NOBODY = UUID(int=0)
SLOW_WAL = {"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB", "checkpoint_timeout": "1h"}
"""Settings of a server on which what is committed asynchronously stays off the disk for seconds."""


def config(url: str, **settings: Any) -> StoreConfig:
    """The store's settings, with small timeouts nowhere: they are the product's."""
    return StoreConfig(conninfo=lambda: url, **settings)


@asynccontextmanager
async def a_store(
    url: str, on_db: Callable[[str, float], None] = lambda _op, _seconds: None, **settings: Any
) -> AsyncIterator[PostgresStore]:
    """Open a store on that URL and close it."""
    store = PostgresStore(config(url, **settings), on_db)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def claim(store: PostgresStore, limit: int = 500, low: int = 0) -> Claim:
    """Claim from the start."""
    return await store.claim(limit=limit, low=low)


def sent(taken: Claim, row_id: int) -> Sent:
    """The mark of a confirmed row of that claim."""
    return next(Sent(row.id, row.message_id) for row in taken.rows if row.id == row_id)


async def send_all(store: PostgresStore) -> Claim:
    """Claim what there is, from the start, and mark it sent; the claim."""
    taken = await claim(store)
    await store.settle(taken.token, [Sent(row.id, row.message_id) for row in taken.rows])
    return taken


def ids(taken: Claim) -> list[int]:
    """The ids of a claim, in its order."""
    return [row.id for row in taken.rows]


async def drained(store: PostgresStore, limit: int = 500) -> list[int]:
    """Claim until nothing is left; the ids in the order they came."""
    found: list[int] = []
    while (taken := await claim(store, limit)).rows:
        found += ids(taken)
    return found


async def row(db: Database, row_id: int, *columns: str) -> tuple[Any, ...]:
    """Some columns of one row."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    ((*values,),) = await db.fetch(sql.SQL("SELECT {} FROM {} WHERE id = %s").format(names, db.table), (row_id,))
    return tuple(values)


async def backend_pids(db: Database, name: str = "outbox-relay") -> list[int]:
    """The server's processes that serve a store of that application name."""
    found = await db.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = %s", (name,))
    return [pid for (pid,) in found]


async def recode(postgres: PostgresServer, db: Database, encoding: LiteralString) -> None:
    """Make the test's database anew in that encoding."""
    create = sql.SQL("CREATE DATABASE {} ENCODING {} LOCALE 'C' TEMPLATE template0")
    await asyncio.to_thread(postgres.drop_database, db.name)
    await asyncio.to_thread(postgres.admin, create.format(sql.Identifier(db.name), sql.Literal(encoding)))
    await asyncio.to_thread(migrate.up, db.url)
