"""The store's connections and the transactions on them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import LiteralString
from weakref import WeakKeyDictionary

import psycopg
from psycopg import sql
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from relay.model import Fault
from relay.ports import StoreUnavailable
from relay.store.config import (
    LOCK_TIMEOUT_S,
    SAMPLE_TIMEOUT_S,
    STATEMENT_TIMEOUT_S,
    TRANSACTION_TIMEOUT_S,
    UPKEEP_TIMEOUT_S,
    OnDb,
    StoreConfig,
)
from relay.store.connect import (
    CHECK_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    Connection,
    behind_pooler,
    bounded,
    check,
    complete,
    connect,
    replicated,
)
from relay.store.faults import FORGETFUL, unavailable

LIFETIME_S = 900.0
"""The oldest a connection grows; the pool takes up to a tenth off by chance, so that they do not end together."""
IDLE_S = 300.0
ON_REQUEST = 1 << 30
"""Uses of a statement after which psycopg would prepare it unasked."""
FRESH_S = 0.2
"""So long after its last success a connection is used again without asking whether it still answers."""

# Isolation and access mode are named because the role may have other defaults. With row_security off, a policy that
# would hide rows raises an error instead. Scans other than along an index are off because a queue's statistics are
# always stale: a planner that believes in a short table reads and sorts the whole backlog for the first few rows.
# All of it ends with the transaction, so a transaction pooler may stand between; one round trip carries it.
_BEGIN: LiteralString = """
BEGIN ISOLATION LEVEL READ COMMITTED {mode};
SET LOCAL synchronous_commit = {synchronous};
SET LOCAL row_security = off;
SET LOCAL statement_timeout = {statement_ms};
SET LOCAL lock_timeout = {lock_ms};
SET LOCAL idle_in_transaction_session_timeout = {idle_ms};
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL jit = off
"""


def _begin(
    mode: LiteralString,
    *,
    synchronous: bool = True,
    statement_s: float = STATEMENT_TIMEOUT_S,
    lock_s: float = LOCK_TIMEOUT_S,
) -> bytes:
    composed = sql.SQL(_BEGIN).format(
        mode=sql.SQL(mode),
        synchronous=sql.SQL("on" if synchronous else "off"),
        statement_ms=sql.Literal(round(statement_s * 1000)),
        lock_ms=sql.Literal(round(lock_s * 1000)),
        idle_ms=sql.Literal(round(TRANSACTION_TIMEOUT_S * 1000)),
    )
    return composed.as_bytes(None)


DURABLE = _begin("READ WRITE")
"""On disk before it returns."""
# A claim is planned once and then only carried out: planning it takes longer than the claim of a few rows. Its plan may
# not depend on how many rows it is for, so no join may look at more than the rows chosen.
CLAIM = (
    DURABLE
    + b"""
; SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off
"""
)
"""Like DURABLE, for claims whose plan is kept."""
IN_ORDER = CLAIM + b"; SET LOCAL enable_sort = off"
"""Like CLAIM, for claims in order: no plan may gather the rows of all keys to sort them, however few it expects."""
LAZY = _begin("READ WRITE", synchronous=False)
"""Forgotten when Postgres crashes within the next instants; the next durable commit makes it durable too."""
SAMPLE = _begin("READ ONLY", statement_s=SAMPLE_TIMEOUT_S)
UPKEEP = _begin("READ WRITE", statement_s=UPKEEP_TIMEOUT_S, lock_s=UPKEEP_TIMEOUT_S)
"""Waits for its turn as long as for its work."""


@contextlib.asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn what psycopg raises into StoreUnavailable, and let pass what is a bug of ours."""
    try:
        yield
    except psycopg.Error as error:
        known = unavailable(error)
        if known is None:
            raise
        raise known from None


class Connections:
    """A pool that makes connections on demand, and knocks at no server that is gone."""

    def __init__(self, config: StoreConfig, on_db: OnDb) -> None:
        self._config = config
        self._on_db = on_db
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._answered_at: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
        """Local monotonic time of the last success of each connection."""
        self._keeps_plans = True
        """Nothing was met so far that takes our sessions for each other."""
        self.found_dead = False
        """A connection was dead when it was to be used, and the pool replaced it: the server may have crashed."""

    async def open(self) -> None:
        """Make the pool; connects to nothing yet."""
        # Its warnings repeat, once a connection, what the port's error says once.
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
        self._pool = AsyncConnectionPool(
            self._conninfo,
            kwargs={"autocommit": True, "prepare_threshold": None},
            min_size=0,
            max_size=self._config.pool_size,
            open=False,
            check=self._check,
            configure=self._configure,
            name="outbox-relay",
            timeout=CONNECT_TIMEOUT_S + 2,
            max_lifetime=LIFETIME_S,
            max_idle=IDLE_S,
            reconnect_timeout=CONNECT_TIMEOUT_S,
        )
        await self._pool.open()

    async def close(self) -> None:
        """Close every connection; one that is lent is closed when it comes back."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _check(self, conn: Connection) -> None:
        if time.monotonic() - self._answered_at.get(conn, float("-inf")) < FRESH_S:
            return
        try:
            await check(conn)
        except BaseException:
            self.found_dead = True
            raise

    async def _configure(self, conn: Connection) -> None:
        """Let a session that is ours alone keep the plans it is asked to keep."""
        async with bounded(conn, CHECK_TIMEOUT_S):
            if self._keeps_plans and not await behind_pooler(conn):
                conn.prepare_threshold = ON_REQUEST

    def _conninfo(self) -> str:
        return complete(self._config.conninfo(), self._config.application_name)

    @contextlib.asynccontextmanager
    async def once(self) -> AsyncIterator[Connection]:
        """Open a connection beside the pool, for a block of some seconds; raises StoreUnavailable, the true reason."""
        conn = await connect(self._config.conninfo, self._config.application_name)
        try:
            async with translated(), bounded(conn, TRANSACTION_TIMEOUT_S):
                yield conn
        finally:
            await conn.close()

    @contextlib.asynccontextmanager
    async def transaction(
        self, op: str, begin: bytes, seconds: float = TRANSACTION_TIMEOUT_S
    ) -> AsyncIterator[Connection]:
        """Run the block in a transaction and commit it, within so many seconds; raises StoreUnavailable."""
        async with self.connection(op, seconds) as conn:
            await conn.execute(begin)
            yield conn
            with replicated(conn):
                await conn.execute("COMMIT")

    async def statement(self, op: str, begin: bytes, query: bytes, params: Mapping[str, object]) -> int:
        """Run one statement in a transaction of its own, in one round trip; return how many rows it changed.

        Raises StoreUnavailable.
        """
        async with self.connection(op, TRANSACTION_TIMEOUT_S) as conn:
            # Several statements in one message can have no parameters on the wire: psycopg quotes them into the text.
            cursor = psycopg.AsyncClientCursor(conn)
            with replicated(conn):
                await cursor.execute(b"".join((begin, b";", query, b";COMMIT")), params)
            return (await cursor.set_result(-2)).rowcount

    @contextlib.asynccontextmanager
    async def connection(self, op: str, seconds: float) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit mode for at most so many seconds; raises StoreUnavailable."""
        began = time.monotonic()
        try:
            async with translated(), self._taken() as conn, bounded(conn, seconds):
                yield conn
        finally:
            self._on_db(op, time.monotonic() - began)

    @contextlib.asynccontextmanager
    async def _taken(self) -> AsyncIterator[Connection]:
        pool = self._pool
        if pool is None:
            raise StoreUnavailable(Fault.OTHER, "the store is closed")
        conn = await self._take(pool)
        try:
            yield conn
            self._answered_at[conn] = time.monotonic()
        except BaseException as error:
            self._answered_at.clear()  # what ended this one may have ended all
            if isinstance(error, psycopg.Error) and error.sqlstate in FORGETFUL:
                self._keeps_plans = False
            # Whatever it was in the midst of ends here, on the server too, without one more round trip.
            await conn.close()
            raise
        finally:
            # Shielded, or a cancellation could lose the connection, and the pool would wait for it for ever.
            await asyncio.shield(pool.putconn(conn))

    async def _take(self, pool: AsyncConnectionPool[Connection]) -> Connection:
        task = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        try:
            conn = await pool.getconn()
        except PoolTimeout:
            # The pool does not tell why. Asking once does, unless the trouble is over or was a lack of connections.
            async with self.once():
                pass
            raise StoreUnavailable(Fault.TIMEOUT, "no connection of the pool became free in time") from None
        if task and task.cancelling() > cancelled:
            # wait_for of Python 3.11 forgets a cancellation that comes together with what was waited for.
            await asyncio.shield(pool.putconn(conn))
            raise asyncio.CancelledError
        return conn
