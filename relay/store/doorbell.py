"""The doorbell: a session that holds the advisory lock and listens. How it works: sql/migrations/1002_doorbell.up.sql.

The session opens in the background, and only where the trigger is. A relay that hangs or vanishes with the bell in hand
would make every producer ring for nobody, so the server ends the session of one that is silent for long.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import LiteralString

from psycopg import sql

from relay.model import BellState, Doorbell
from relay.ports import StoreUnavailable
from relay.store.config import StoreConfig
from relay.store.connect import Connection, behind_pooler, bounded, connect
from relay.store.pool import translated
from relay.store.queries import compose
from relay.store.upkeep import look_for_doorbell

ANSWER_S = 2.0
"""For one statement of the session, which only ever takes an instant."""
BEAT_S = 10.0
SILENCE_S = 30
"""So long after the last beat the server ends the session that holds the bell."""
LOOK_AGAIN_S = 30.0
"""After a look that found no doorbell."""
OPEN_AGAIN_S = 5.0
"""After a session was lost."""

# tcp_user_timeout frees a server that cannot write: a client that is stopped takes nothing, and acknowledges it.
_PREPARE: LiteralString = """
SET statement_timeout = {answer_ms}; SET idle_session_timeout = 0; SET tcp_user_timeout = {silence_ms}
"""
_TAKE: LiteralString = """
SELECT held, set_config('idle_session_timeout', CASE WHEN held THEN {silence} ELSE '0' END, FALSE)
FROM pg_try_advisory_lock(1650814060, {table_id}::oid::integer) AS held
"""
_LISTEN: LiteralString = "LISTEN {channel}"
# The lock last: whoever rings while it is held is still heard, or not missed.
_LET_GO: LiteralString = """
UNLISTEN *; SET idle_session_timeout = 0; SELECT pg_advisory_unlock(1650814060, {table_id}::oid::integer)
"""

Look = Callable[[], Awaitable[Doorbell]]
OnBell = Callable[[BellState, str], None]
"""Called with every change of state and why."""


async def pooled(config: StoreConfig) -> bool:
    """Return whether a pooler stands before the database. Raises StoreUnavailable."""
    conn = await connect(config.conninfo, config.application_name)
    try:
        async with translated(), bounded(conn, ANSWER_S):
            return await behind_pooler(conn)
    finally:
        await conn.close()


class PostgresDoorbell:
    """Fills relay.ports.Waker; `close` it in the end."""

    def __init__(self, config: StoreConfig, look: Look, on_bell: OnBell, on_ring: Callable[[], None]) -> None:
        self._config = config
        self._look = look
        self._query = compose(config.schema, config.table).doorbell
        self._on_bell = on_bell
        self._on_ring = on_ring
        self._state = BellState.ABSENT
        self._conn: Connection | None = None
        self._table_id = 0
        self._next_at = float("-inf")
        """Local monotonic time before which no session is opened."""
        self._opening: asyncio.Task[None] | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._talk = asyncio.Lock()
        """Held by whoever says something on the session."""

    @property
    def held(self) -> bool:
        """The bell is in hand."""
        return self._hearing is not None and not self._hearing.done()

    async def take(self, ring: Callable[[], None]) -> bool:
        """Take the bell unless somebody has it; a session for it is opened meanwhile when there is none."""
        conn = self._conn
        if conn is None:
            self._open_soon()
            return False
        async with self._talk:
            if not await self._say(conn, self._try_lock):
                return False
            self._hearing = asyncio.create_task(self._hear(conn, ring), name="doorbell")
            return True

    async def let_go(self) -> None:
        """Stop listening, then unlock."""
        async with self._talk:
            hearing, self._hearing = self._hearing, None
            if hearing is None:
                return
            hearing.cancel()  # whatever it says it says under the lock, so it only listens now
            await asyncio.wait({hearing})
            if self._conn is not None:
                await self._say(self._conn, self._unlock)

    async def close(self) -> None:
        """End the session, and thereby everything it holds."""
        for task in (self._opening, self._hearing):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        self._opening = self._hearing = None
        await self._drop()

    async def _say(self, conn: Connection, what: Callable[[Connection], Awaitable[bool]]) -> bool:
        """Return what it returns; a session that does not answer is lost."""
        try:
            async with translated(), bounded(conn, ANSWER_S):
                return await what(conn)
        except StoreUnavailable as error:
            await self._lost(error)
            return False
        except BaseException:
            await self._drop()
            raise

    async def _try_lock(self, conn: Connection) -> bool:
        cursor = await conn.execute(self._composed(_TAKE))
        ((held, _),) = await cursor.fetchall()
        if held:
            await conn.execute(self._composed(_LISTEN))
        return bool(held)

    async def _unlock(self, conn: Connection) -> bool:
        await conn.execute(self._composed(_LET_GO))
        return True

    def _composed(self, text: LiteralString) -> sql.Composed:
        return sql.SQL(text).format(
            table_id=sql.Literal(self._table_id),
            channel=sql.Identifier(f"relay_doorbell_{self._table_id}"),
            silence=sql.Literal(f"{SILENCE_S}s"),
            silence_ms=sql.Literal(SILENCE_S * 1000),
            answer_ms=sql.Literal(round(ANSWER_S * 1000)),
        )

    async def _hear(self, conn: Connection, ring: Callable[[], None]) -> None:
        """Ring for every notification, and now and then see that the session and the trigger are there."""
        try:
            while True:
                async with translated():
                    async for _ in conn.notifies(timeout=BEAT_S):
                        self._on_ring()
                        ring()
                async with self._talk, translated(), bounded(conn, ANSWER_S):
                    found = await look_for_doorbell(conn, self._query, self._config)
                if not (found.enabled and found.table_id == self._table_id):
                    await self._drop()
                    self._became(BellState.ABSENT)
                    break
                ring()  # what came with the answer was perhaps read with it
        except StoreUnavailable as error:
            await self._lost(error)
        ring()

    def _open_soon(self) -> None:
        if (self._opening is None or self._opening.done()) and time.monotonic() >= self._next_at:
            self._opening = asyncio.create_task(self._open(), name="doorbell-open")

    async def _open(self) -> None:
        """Look whether there is a doorbell, and open a session for it."""
        self._next_at = time.monotonic() + LOOK_AGAIN_S
        try:
            found = await self._look()
            if not found.enabled:
                return self._became(BellState.ABSENT)
            conn = await connect(self._config.conninfo, self._config.application_name)
        except StoreUnavailable as error:
            return await self._lost(error)
        self._table_id = found.table_id
        try:
            if await self._say(conn, self._prepare):
                self._conn = conn
                self._became(BellState.READY)
        finally:
            if self._conn is None:
                await conn.close()
        return None

    async def _prepare(self, conn: Connection) -> bool:
        """Return whether the session is our own, and make it ready."""
        if await behind_pooler(conn):
            self._became(BellState.POOLED)
            return False
        await conn.execute(self._composed(_PREPARE))
        return True

    async def _lost(self, error: StoreUnavailable) -> None:
        await self._drop()
        self._next_at = time.monotonic() + OPEN_AGAIN_S
        self._became(BellState.LOST, str(error))

    async def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            await conn.close()

    def _became(self, state: BellState, why: str = "") -> None:
        before, self._state = self._state, state
        if before is not state:
            self._on_bell(state, why)
