"""What an operator starts beside the loop: cleanup and requeue."""

from datetime import timedelta

from relay.model import Doorbell
from relay.store.begin import SAMPLE, UPKEEP
from relay.store.config import SAMPLE_TIMEOUT_S, UPKEEP_TIMEOUT_S, StoreConfig
from relay.store.connect import Connection
from relay.store.pool import Connections
from relay.store.queries import Queries
from relay.store.sampling import GRACE_S


async def doorbell(connections: Connections, query: bytes, config: StoreConfig) -> Doorbell:
    """Look for the doorbell's trigger, and for who holds it; without a table there is none."""
    async with connections.transaction("ping", SAMPLE, SAMPLE_TIMEOUT_S + GRACE_S) as conn:
        return await look_for_doorbell(conn, query, config)


async def look_for_doorbell(conn: Connection, query: bytes, config: StoreConfig) -> Doorbell:
    """Ask on that connection."""
    cursor = await conn.execute(query, {"schema": config.schema, "table": config.table})
    found = await cursor.fetchone()
    return Doorbell(*found) if found else Doorbell(0, installed=False, enabled=False, holder=None)


async def cleanup(
    connections: Connections, queries: Queries, older_than: timedelta, *, failed: bool, batch: int, dry_run: bool
) -> int:
    """Delete sent (or failed) rows of that age, or count them; return how many."""
    if dry_run:
        count = queries.count_failed if failed else queries.count_sent
        return await number(connections, "cleanup", count, older_than=older_than)
    query = queries.cleanup_failed if failed else queries.cleanup_sent
    return await repeat(connections, "cleanup", query, batch=batch, older_than=older_than)


async def requeue(connections: Connections, queries: Queries, *, limit: int | None, batch: int, dry_run: bool) -> int:
    """Make failed rows pending again, or count them; return how many."""
    if dry_run:
        found = await number(connections, "requeue", queries.count_failed, older_than=None)
        return found if limit is None else min(found, limit)
    return await repeat(connections, "requeue", queries.requeue, batch=batch, limit=limit)


async def repeat(
    connections: Connections,
    op: str,
    query: bytes,
    *,
    batch: int,
    older_than: timedelta | None = None,
    limit: int | None = None,
) -> int:
    """Call a function of the schema, each time in a transaction of its own, until it finds no more; return the sum."""
    total = 0
    while limit is None or total < limit:
        rows = batch if limit is None else min(batch, limit - total)
        done = await number(connections, op, query, older_than=older_than, max_rows=rows)
        if done == 0:
            break
        total += done
    return total


async def number(
    connections: Connections, op: str, query: bytes, *, older_than: timedelta | None, max_rows: int = 0
) -> int:
    """Ask a question whose answer is a number."""
    async with connections.transaction(op, UPKEEP, UPKEEP_TIMEOUT_S + GRACE_S) as conn:
        cursor = await conn.execute(query, {"older_than": older_than, "max_rows": max_rows})
        ((answer,),) = await cursor.fetchall()
    return int(answer)
