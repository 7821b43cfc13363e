"""How each kind of transaction begins: in a single message, which says all that the transaction depends on."""

from typing import LiteralString

from psycopg import sql

from relay.store.config import (
    LOCK_TIMEOUT_S,
    SAMPLE_TIMEOUT_S,
    STATEMENT_TIMEOUT_S,
    TRANSACTION_TIMEOUT_S,
    UPKEEP_TIMEOUT_S,
)

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
