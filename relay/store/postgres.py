"""The store: leases and marks on one outbox table. Start with `claim` and `settle`; their SQL is in relay/queries."""

import time
from collections.abc import Sequence
from uuid import UUID, uuid4

from relay.decide import clean
from relay.model import Claim, Failed, Fault, Mark, Release, Retry, Sent
from relay.ports import StoreUnavailable
from relay.store.config import OnDb, StoreConfig, ignore
from relay.store.connect import Connection
from relay.store.pool import DURABLE, LAZY, Connections
from relay.store.queries import SQL_ASCII, Queries, compose
from relay.store.rows import LenientText, offered, row_of

TIMEOUT_CUT = 8
"""A claim that ran into its timeout is tried with that many times fewer rows."""


class PostgresStore:
    """Fills relay.ports.Store; `open` it first and `close` it last."""

    def __init__(self, config: StoreConfig, on_db: OnDb = ignore) -> None:
        self._config = config
        self._connections = Connections(config, on_db)
        self._queries: Queries | None = None
        self._encoding = ""
        self._rows_max: int | None = None
        """Rows a claim asks for at most, after large rows cut one by its bytes."""

    async def open(self) -> None:
        """Get ready to connect; needs no server."""
        await self._connections.open()

    async def close(self) -> None:
        """Give every connection back."""
        await self._connections.close()

    async def ready(self) -> None:
        """Make sure of a connection and of the table, once after each failure."""
        await self._composed()

    async def _composed(self) -> Queries:
        if self._queries is None:
            self._encoding, payload_type = "UTF8", "jsonb"
            self._queries = compose(
                self._config.schema, self._config.table, payload_type=payload_type, encoding=self._encoding
            )
        return self._queries

    async def claim(self, *, limit: int, low: int) -> Claim:
        """Lease up to `limit` due rows with `id >= low`, on disk before it returns."""
        queries = await self._composed()
        asked = limit if self._rows_max is None else min(limit, self._rows_max)
        token, taken_at = uuid4(), time.monotonic()
        params = {
            "low": low,
            "rows": asked,
            "bytes": self._config.batch_bytes,
            "message_bytes": self._config.message_bytes_max,
            "lease_s": float(self._config.lease_s),
            "token": token,
        }
        try:
            async with self._connections.transaction("claim", DURABLE) as conn:
                cursor = conn.cursor(binary=True)
                if self._encoding == SQL_ASCII:
                    cursor.adapters.register_loader("text", LenientText)
                await cursor.execute(queries.claim, params)
                records = await cursor.fetchall()
        except StoreUnavailable as error:
            if error.fault is Fault.TIMEOUT:
                self._rows_max = max(1, asked // TIMEOUT_CUT)
            raise
        # RETURNING keeps no order.
        rows = tuple(sorted(map(row_of, records), key=lambda row: row.id))
        candidates = offered(records[0]) if records else 0
        self._adapt(asked, limit, taken=len(rows), candidates=candidates)
        return Claim(token, rows, taken_at, more=candidates == asked or len(rows) < candidates)

    def _adapt(self, asked: int, limit: int, *, taken: int, candidates: int) -> None:
        """Ask for fewer rows while large ones fill the byte limit: the rest would be locked and read for nothing."""
        if taken < candidates:
            self._rows_max = max(1, 2 * taken)
        elif self._rows_max is not None and candidates == asked:
            self._rows_max = None if 2 * asked >= limit else 2 * asked

    async def renew(self, token: UUID, row_ids: Sequence[int]) -> frozenset[int]:
        """Lengthen the lease of those rows and return the ids that are still ours."""
        queries = await self._composed()
        params = {"ids": sorted(row_ids), "token": token, "lease_s": float(self._config.lease_s)}
        async with self._connections.transaction("renew", DURABLE) as conn:
            return await _ids(conn, queries.renew, params)

    async def settle(self, token: UUID, marks: Sequence[Mark]) -> frozenset[int]:
        """Write the marks and return the ids whose row is no longer ours to mark."""
        queries = await self._composed()
        sent = sorted(mark.row_id for mark in marks if isinstance(mark, Sent))
        if sent:
            async with self._connections.transaction("settle", LAZY) as conn:
                await conn.execute(queries.mark_sent, {"ids": sent})
        fenced = [mark for mark in marks if not isinstance(mark, Sent)]
        if not fenced:
            return frozenset()
        async with self._connections.transaction("settle", DURABLE) as conn:
            return await _settle_fenced(conn, queries, token, fenced)


async def _settle_fenced(
    conn: Connection, queries: Queries, token: UUID, marks: Sequence[Retry | Failed | Release]
) -> frozenset[int]:
    """Write the marks that only the holder of the lease may; in order of id, so that no two relays wait in a circle."""
    marks = sorted(marks, key=lambda mark: mark.row_id)
    lost = {mark.row_id for mark in marks}
    for kind, query in ((Retry, queries.mark_retry), (Failed, queries.mark_failed), (Release, queries.release)):
        chosen = [mark for mark in marks if isinstance(mark, kind)]
        if chosen:
            lost -= await _ids(
                conn,
                query,
                {
                    "token": token,
                    "ids": [mark.row_id for mark in chosen],
                    "notes": [_note(mark) for mark in chosen],
                    "delays_s": [float(mark.delay_s) if isinstance(mark, Retry) else 0.0 for mark in chosen],
                },
            )
    if lost:  # or settled before, by a commit whose reply never came
        lost -= await _ids(conn, queries.settled, {"ids": sorted(lost), "token": token})
    return frozenset(lost)


def _note(mark: Retry | Failed | Release) -> str | None:
    """Return the error text, made storable once more: a mark that cannot be written would be tried for ever."""
    text = mark.doubt if isinstance(mark, Release) else mark.error
    return None if text is None else clean(text)


async def _ids(conn: Connection, query: bytes, params: dict[str, object]) -> frozenset[int]:
    cursor = await conn.execute(query, params, binary=True)
    return frozenset(row[0] for row in await cursor.fetchall())
