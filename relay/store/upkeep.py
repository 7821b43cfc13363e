"""What is asked beside the loop: the backlog sample, and the cleanup and requeue that an operator starts."""

from datetime import timedelta

from relay.model import Backlog
from relay.store.config import SAMPLE_TIMEOUT_S, UPKEEP_TIMEOUT_S
from relay.store.pool import SAMPLE, UPKEEP, Connections

GRACE_S = 3.0
"""For the round trips, on top of what the server is allowed for a statement."""


async def sample(connections: Connections, query: bytes, cap: int) -> Backlog:
    """Count up to `cap` rows of each kind; ends within seconds however large the table is."""
    async with connections.transaction("backlog", SAMPLE, seconds=SAMPLE_TIMEOUT_S + GRACE_S) as conn:
        cursor = await conn.execute(query, {"cap": cap}, binary=True)
        ((pending, retrying, failed, oldest_age_s, sampled_at, deleted, blocked_keys),) = await cursor.fetchall()
    return Backlog(
        pending=min(pending, cap),
        retrying=min(retrying, cap),
        failed=min(failed, cap),
        capped=max(pending, retrying, failed) > cap,
        oldest_age_s=oldest_age_s,
        sampled_at=sampled_at,
        deleted=deleted,
        blocked_keys=min(blocked_keys, cap),
    )


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
    async with connections.transaction(op, UPKEEP, seconds=UPKEEP_TIMEOUT_S + GRACE_S) as conn:
        cursor = await conn.execute(query, {"older_than": older_than, "max_rows": max_rows})
        ((answer,),) = await cursor.fetchall()
    return int(answer)
