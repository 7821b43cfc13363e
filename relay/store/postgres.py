"""The store: leases and marks on one outbox table. Start with `claim` and `settle`; their SQL is in relay/queries."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from functools import partial
from operator import attrgetter
from uuid import UUID, uuid4

from relay.model import Backlog, Claim, Doorbell, Fault, Health, Mark, Sent
from relay.ports import StoreUnavailable
from relay.store import upkeep
from relay.store.begin import CLAIM, DURABLE, IN_ORDER, LAZY, SAMPLE
from relay.store.config import TRANSACTION_TIMEOUT_S, OnDb, StoreConfig, ignore
from relay.store.connect import Connection
from relay.store.facts import Facts, facts_of
from relay.store.health import HealthSampler
from relay.store.lease import lease, terms
from relay.store.marks import ids_of, under_lease, under_message_id, write_fenced
from relay.store.pool import Connections
from relay.store.portion import Portion
from relay.store.problems import Problem, find_problems, unavailable_for
from relay.store.queries import UTF8, compose, compose_claim
from relay.store.rows import offered, row_of, suspected
from relay.store.sampling import Sampler
from relay.store.turns import Turns
from relay.store.unflushed import Unflushed
from relay.store.unreadable import Unreadable

PROOF_S = 5.0
"""So long after the last success of a transaction the server counts as there without being asked."""


class PostgresStore:
    """Fills relay.ports.Store; `open` it first and `close` it last. Its methods raise StoreUnavailable."""

    def __init__(self, config: StoreConfig, on_db: OnDb = ignore) -> None:
        self._config = config
        self._on_db = on_db
        self._connections = Connections(config, on_db)
        self._queries = compose(
            config.schema, config.table, ordered=config.ordered, failed_blocks_key=config.failed_blocks_key
        )
        self._find_problems = partial(
            find_problems,
            schema=config.schema,
            table=config.table,
            ordered=config.ordered,
            failed_blocks_key=config.failed_blocks_key,
        )
        self._turns = Turns(self._queries) if config.ordered else None
        self._begin = IN_ORDER if config.ordered else CLAIM
        self._sampler = Sampler(self._connections, self._queries.backlog, config.backlog_cap)
        self._health = HealthSampler(self._connections, self._queries)
        self._claim: bytes | None = None
        """Composed when the table was found to be right; None after a failure, until it is looked at again."""
        self._proved_at = 0.0
        """Local monotonic time of the last success."""
        self._encoding = UTF8
        """The database's."""
        self._portion = Portion()
        self._unanswered: list[Mapping[str, object]] = []
        """Claims that failed, perhaps after their commit: the parameters that give them back."""
        self._unflushed = Unflushed()

    async def open(self) -> None:
        """Get ready to connect; needs no server."""
        await self._connections.open()

    async def close(self) -> None:
        """Give back a claim that was cut short, and every connection."""
        crashed = self._connections.found_dead and self._unflushed.marks()
        if self._claim is not None and (self._unanswered or crashed):
            with suppress(StoreUnavailable):
                await self.ready()
        await self._connections.close()

    async def ready(self) -> None:
        """Make sure of a connection and of the table the relay needs: asks after a failure, and after a while of rest.

        While the broker is gone nothing is claimed, and the database may go in the meantime.
        """
        if self._claim is None or self._connections.found_dead or time.monotonic() - self._proved_at > PROOF_S:
            self._claim, self._connections.found_dead = None, False
            await self._verified()
            await self._mark_again()
        while self._unanswered:
            await self._give_back(self._unanswered[0])
            self._unanswered.pop(0)

    async def _mark_again(self) -> None:
        """Mark rows whose mark a crash of Postgres may have undone; changes nothing when there was no crash.

        What changes nothing waits for no disk, so marks that were all there may still be lost, and are kept.
        """
        bookmark, marks = self._unflushed.bookmark(), self._unflushed.marks()
        if marks and await self._statement(DURABLE, self._queries.mark_sent_late, under_message_id(marks)):
            self._unflushed.forget(bookmark)

    async def _verified(self) -> bytes:
        facts, config = await self.facts(), self._config
        trouble = unavailable_for(self._find_problems(facts))
        if trouble is not None:
            raise trouble
        (payload,) = (column for column in facts.columns if column.name == "payload")
        self._encoding = facts.encoding
        self._claim = compose_claim(
            config.schema,
            config.table,
            payload_type=payload.type,
            payload_type_id=payload.type_id,
            encoding=facts.encoding,
            ordered=config.ordered,
        )
        if self._turns is not None:
            self._turns.forget()
        self._proved_at = time.monotonic()
        return self._claim

    async def facts(self) -> Facts:
        """Look at the server and the table, on a connection of its own: a failure tells the true reason."""
        began = time.monotonic()
        try:
            async with self._connections.once() as conn:
                await conn.execute(SAMPLE)  # a role's own timeout may be too short for catalogs
                names = {"schema": self._config.schema, "table": self._config.table}
                ((answer,),) = await (await conn.execute(self._queries.inspect, names)).fetchall()
        finally:
            self._on_db("ready", time.monotonic() - began)
        return facts_of(answer)

    async def problems(self) -> tuple[Problem, ...]:
        """Return what is wrong with the table, and what mends it."""
        return self._find_problems(await self.facts())

    async def ping(self) -> float:
        """Return the seconds of one round trip."""
        async with self._connections.connection("ping", TRANSACTION_TIMEOUT_S) as conn:
            began = time.monotonic()
            await conn.execute("")
            return time.monotonic() - began

    @asynccontextmanager
    async def _transaction(self, op: str, begin: bytes) -> AsyncIterator[Connection]:
        with self._proof():
            async with self._connections.transaction(op, begin) as conn:
                yield conn

    async def _statement(self, begin: bytes, query: bytes, params: Mapping[str, object]) -> int:
        with self._proof():
            return await self._connections.statement("settle", begin, query, params)

    @contextmanager
    def _proof(self) -> Iterator[None]:
        """Learn from how it ends whether the database is there."""
        try:
            yield
        except StoreUnavailable:
            self._claim = None
            raise
        self._proved_at = time.monotonic()

    async def claim(self, *, limit: int, low: int) -> Claim:
        """Lease up to `limit` due rows with `id >= low`, on disk before it returns."""
        self._sampler.seen_below(low)
        if self._claim is None:
            await self.ready()
        query = self._claim or await self._verified()
        try:
            return await self._lease(query, self._portion.of(limit), limit, low)
        except Unreadable:
            self._portion.failed(1)
            return await self._lease(query, 1, limit, low, alone=True)

    async def _lease(self, query: bytes, asked: int, limit: int, low: int, *, alone: bool = False) -> Claim:
        token, taken_at = uuid4(), time.monotonic()
        params = terms(self._config, token=token, rows=asked, low=low)
        bookmark = self._unflushed.bookmark()
        try:
            async with self._transaction("claim", self._begin) as conn:
                records, beyond = await lease(
                    conn, self._queries, query, params, encoding=self._encoding, turns=self._turns, alone=alone
                )
        except (StoreUnavailable, asyncio.CancelledError) as error:
            self._unanswered.append({**params, "seen": self._config.scan_ids})
            if isinstance(error, StoreUnavailable) and error.fault is Fault.TIMEOUT:
                self._portion.failed(asked)
            raise
        # RETURNING keeps no order.
        rows = tuple(sorted(map(row_of, records), key=attrgetter("id")))
        if rows and self._claim is not None and not self._connections.found_dead:
            # A commit that wrote something waited for the disk and took all earlier ones there, unless a crash undid
            # them before: then a connection was found dead, or a call failed.
            self._unflushed.forget(bookmark)
        candidates = offered(records[0]) if records else 0
        if records and not suspected(records[0]):
            self._portion.came(asked, limit, taken=len(rows), candidates=candidates)
        more = candidates == asked or len(rows) < candidates or (self._turns is not None and self._turns.more)
        return Claim(token, rows, taken_at, more=more, beyond=beyond)

    async def _give_back(self, claim: Mapping[str, object]) -> None:
        """Undo a claim whose commit was perhaps never answered: nobody has its rows in hand, and none was published."""
        async with self._transaction("settle", DURABLE) as conn:
            await conn.execute(self._queries.give_back, claim)

    async def renew(self, token: UUID, row_ids: Sequence[int]) -> frozenset[int]:
        """Lengthen the lease of those rows and return the ids that are still ours."""
        params = {"ids": sorted(row_ids), "token": token, "lease_s": float(self._config.lease_s)}
        async with self._transaction("renew", DURABLE) as conn:
            return await ids_of(conn, self._queries.renew, params)

    async def settle(self, token: UUID, marks: Sequence[Mark]) -> frozenset[int]:
        """Write the marks and return the ids whose row is no longer ours to mark."""
        sent = sorted((mark for mark in marks if isinstance(mark, Sent)), key=attrgetter("row_id"))
        if sent:
            marked = await self._statement(LAZY, self._queries.mark_sent, under_lease(token, sent))
            if marked < len(sent):
                await self._statement(LAZY, self._queries.mark_sent_late, under_message_id(sent))
            self._unflushed.add(sent)
        fenced = [mark for mark in marks if not isinstance(mark, Sent)]
        if not fenced:
            return frozenset()
        async with self._transaction("settle", DURABLE) as conn:
            return await write_fenced(conn, self._queries, token, fenced, encoding=self._encoding)

    async def doorbell(self) -> Doorbell:
        """Return what the database says of the doorbell."""
        return await upkeep.doorbell(self._connections, self._queries.doorbell, self._config)

    async def backlog(self) -> Backlog:
        """Sample the whole table's backlog: `pending` holds `retrying`, and each count stops at the cap."""
        return await self._sampler.sample()

    async def health(self) -> Health:
        """Look at how the table fares, who keeps vacuum from it, which relays are there, and what failed last."""
        return await self._health.sample()

    async def cleanup(
        self, older_than: timedelta, *, failed: bool = False, batch: int = 5000, dry_run: bool = False
    ) -> int:
        """Delete sent (or failed) rows of that age, a batch a transaction; return how many. Needs outbox_keeper."""
        return await upkeep.cleanup(
            self._connections, self._queries, older_than, failed=failed, batch=batch, dry_run=dry_run
        )

    async def requeue(self, *, limit: int | None = None, batch: int = 1000, dry_run: bool = False) -> int:
        """Make failed rows pending again, a batch a transaction; return how many. Needs outbox_keeper."""
        return await upkeep.requeue(self._connections, self._queries, limit=limit, batch=batch, dry_run=dry_run)
