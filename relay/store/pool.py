"""The store's connections and the transactions on them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from weakref import WeakKeyDictionary

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from relay.model import Fault
from relay.ports import StoreUnavailable
from relay.store.config import TRANSACTION_TIMEOUT_S, OnDb, StoreConfig
from relay.store.connect import (
    CHECK_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    Connection,
    behind_pooler,
    bounded,
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
_first: ContextVar[bytes] = ContextVar("first", default=b"")
"""What is said first on the connection that is being taken, so that the answer shows whether there is one to be had."""


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
            async with bounded(conn, CHECK_TIMEOUT_S):
                await conn.execute(_first.get())
        except BaseException as error:
            if isinstance(error, psycopg.Error) and error.diag.severity_nonlocalized == "ERROR":
                return  # it answers, as a standby does; whoever says it again is told
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
        async with self.connection(op, seconds, first=begin) as conn:
            if conn.info.transaction_status is TransactionStatus.IDLE:
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
    async def connection(self, op: str, seconds: float, *, first: bytes = b"") -> AsyncIterator[Connection]:
        """Lend a connection in autocommit mode for at most so many seconds; raises StoreUnavailable.

        When it rested long, `first` was said on it already: its transaction status tells.
        """
        began = time.monotonic()
        try:
            _first.set(first)
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
