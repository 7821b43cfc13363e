"""An outbox table under each kind of store; a test says to both in the same words what happens to it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from relay import migrate
from relay.model import Fault
from relay.ports import Store, StoreUnavailable
from services.proxy import Proxy
from tests.builders import Database, eventually
from tests.contract.outbox import BODY, LEASE_S, SLOW_S, Outbox, Seen, Work
from tests.doubles import MemoryStore
from tests.stores import a_store

GATE = 8128
"""The advisory lock at which commits wait while the gate is shut."""


class MemoryOutbox:
    """The double's."""

    def __init__(
        self,
        *,
        batch_bytes: int = 2**20,
        message_bytes_max: int = 2**20,
        ordered: bool = False,
        failed_blocks_key: bool = False,
        scan_ids: int = 20_000,
    ) -> None:
        self._loop_time = asyncio.get_running_loop().time
        self._passed_s = 0.0
        self.store = MemoryStore(
            self.now,
            lease_s=LEASE_S,
            batch_bytes=batch_bytes,
            message_bytes_max=message_bytes_max,
            ordered=ordered,
            failed_blocks_key=failed_blocks_key,
            scan_ids=scan_ids,
        )
        self._last_id = 0

    def now(self) -> float:
        return self._loop_time() + self._passed_s

    async def another(self) -> Store:
        return MemoryStore(self.now, table=self.store.table)

    async def reserve(self) -> int:
        self._last_id += 1
        return self._last_id

    async def commit(
        self,
        *,
        n: int = 1,
        id: int | None = None,  # noqa: A002 - the column's name
        payload: str = BODY,
        headers: str = "{}",
        delay_s: float = 0.0,
        age_s: float = 0.0,
        key: str | None = None,
    ) -> list[int]:
        ids = [await self.reserve() if id is None else id for _ in range(n)]
        columns: dict[str, Any] = {"payload": payload.encode(), "headers": headers, "key": key}
        for row_id in ids:
            self.store.commit(id=row_id, delay_s=delay_s, age_s=age_s, **columns)
        return ids

    async def delete(self, row_id: int) -> None:
        del self.store.rows[row_id]

    async def see(self, row_id: int) -> Seen:
        stored = self.store.rows[row_id]
        leased = not self.store.table.free(stored)
        return Seen(stored.status, stored.claims, stored.failures, leased, stored.last_error)

    async def pass_time(self, seconds: float) -> None:
        self._passed_s += seconds

    async def cut(self) -> None:
        self.store.down = Fault.REFUSED

    async def heal(self) -> None:
        self.store.heal()

    async def unheard(self, op: str, work: Work) -> None:
        self.store.fail_next(op, after=True)
        with pytest.raises(StoreUnavailable):
            await work

    async def halfway(self, settle: Work) -> None:
        self.store.fail_next_settle_halfway()
        with pytest.raises(StoreUnavailable):
            await settle

    async def slowly(self, claim: Work) -> tuple[object, float]:
        self.store.delay_s["claim"] = SLOW_S
        return await claim, self.now()

    async def cancelled(self, claim: Work) -> None:
        self.store.reply_s = 60.0
        task = asyncio.create_task(claim)
        await eventually(lambda: bool(self.store.claims))
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        self.store.reply_s = 0.0


class PostgresOutbox:
    """The real one, behind a proxy that can be cut."""

    def __init__(self, db: Database, between: Proxy, stack: AsyncExitStack, **limits: Any) -> None:
        self._db = db
        self._between = between
        self._stack = stack
        self._limits = limits
        self._keeper: psycopg.AsyncConnection[Any] | None = None
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        assert self._store is not None, "open it first"
        return self._store

    async def open(self) -> "PostgresOutbox":
        """Open the store under test."""
        self._store = await self.another()
        return self

    def now(self) -> float:
        return asyncio.get_running_loop().time()  # the same monotonic clock

    async def another(self) -> Store:
        url = self._between.url(self._db.url)
        return await self._stack.enter_async_context(a_store(url, lease_s=LEASE_S, **self._limits))

    async def reserve(self) -> int:
        ((row_id,),) = await self._db.fetch("SELECT nextval(pg_get_serial_sequence('outbox.message', 'id'))")
        return int(row_id)

    async def commit(
        self,
        *,
        n: int = 1,
        id: int | None = None,  # noqa: A002 - the column's name
        payload: str = BODY,
        headers: str = "{}",
        delay_s: float = 0.0,
        age_s: float = 0.0,
        key: str | None = None,
    ) -> list[int]:
        ids = [await self.reserve() if id is None else id for _ in range(n)]
        await self._db.fetch(
            "INSERT INTO {table} (id, routing_key, payload, headers, key, available_at, created_at) "
            "OVERRIDING SYSTEM VALUE SELECT id, 'order.created', %s, %s, %s, "
            "now() + make_interval(secs => %s), now() - make_interval(secs => %s) FROM unnest(%s::bigint[]) AS id",
            (payload, headers, key, delay_s, age_s, ids),
        )
        return ids

    async def delete(self, row_id: int) -> None:
        await self._db.fetch("DELETE FROM {table} WHERE id = %s", (row_id,))

    async def see(self, row_id: int) -> Seen:
        (found,) = await self._db.fetch(
            "SELECT status, claims, failures, coalesce(claimed_until > now(), false), last_error FROM {table} "
            "WHERE id = %s",
            (row_id,),
        )
        return Seen(*found)

    async def pass_time(self, seconds: float) -> None:
        """Make every time in the table older: the database's clock is not ours to set."""
        await self._db.fetch(
            "UPDATE {table} SET available_at = available_at - s, created_at = created_at - s, "
            "claimed_until = claimed_until - s FROM make_interval(secs => %s) AS s",
            (seconds,),
        )

    async def cut(self) -> None:
        await self._between.refuse()
        self._between.reset_all()

    async def heal(self) -> None:
        await self._between.pass_all()

    async def unheard(self, op: str, work: Work) -> None:  # noqa: ARG002 - the work itself says which
        task = await self._at_the_gate(work)
        self._between.reset_all()
        with pytest.raises(StoreUnavailable):
            await task
        await self._open_the_gate()

    async def halfway(self, settle: Work) -> None:
        """Rows sent are committed first; the gate stops that commit, and nothing follows it."""
        await self.unheard("settle", settle)

    async def slowly(self, claim: Work) -> tuple[object, float]:
        task = await self._at_the_gate(claim)
        await asyncio.wait({task}, timeout=SLOW_S)
        let_through_at = self.now()
        await self._open_the_gate()
        return await task, let_through_at

    async def cancelled(self, claim: Work) -> None:
        task = await self._at_the_gate(claim)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        await self._open_the_gate()

    async def _at_the_gate(self, work: Work) -> "asyncio.Task[object]":
        """Run the work until its commit waits at the gate."""
        await self.store.ready()
        if self._keeper is None:
            self._keeper = await self._db.connect()
            await self._keeper.execute(
                "CREATE FUNCTION public.gate() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS "
                f"$$ BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NULL; END $$;"
                "CREATE CONSTRAINT TRIGGER gate AFTER UPDATE ON outbox.message DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION public.gate()"
            )
        await self._keeper.execute("SELECT pg_advisory_lock(%s)", (GATE,))
        task = asyncio.create_task(work)
        await eventually(self._somebody_waits)
        return task

    async def _somebody_waits(self) -> bool:
        return bool(await self._db.fetch("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))

    async def _open_the_gate(self) -> None:
        """Let the commit through and wait until it is done, whoever hears of it."""
        assert self._keeper is not None
        await self._keeper.execute("SELECT pg_advisory_unlock(%s)", (GATE,))

        async def done() -> None:
            busy = (
                "SELECT pid FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'outbox-relay' AND state <> 'idle'"
            )
            assert await self._db.fetch(busy) == []

        await eventually(done)


async def on_postgres(
    db: Database, proxy: Callable[[str, int], Awaitable[Proxy]], stack: AsyncExitStack, **limits: int
) -> Outbox:
    """A real one; closed with the stack."""
    if limits.get("ordered"):
        await asyncio.to_thread(migrate.up, db.url, only="ordering")
    server = urlsplit(db.url)
    assert server.hostname
    assert server.port
    return await PostgresOutbox(db, await proxy(server.hostname, server.port), stack, **limits).open()
