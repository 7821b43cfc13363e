"""The sample of the table's health, each part in a transaction of its own: a slow one leaves the others whole.

The oldest sent row is the one part that could be dear: under an old snapshot the head of its index holds what cleanups
have deleted since. Like a sample of the backlog it begins where the last one found it.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import MAXYEAR, UTC, datetime
from typing import Any

import psycopg

from relay.model import FailedRow, Fault, Health, Holder, Replica, Snapshot
from relay.ports import StoreUnavailable
from relay.store.begin import SAMPLE
from relay.store.config import SAMPLE_TIMEOUT_S
from relay.store.pool import Connections
from relay.store.queries import Queries
from relay.store.sampling import GRACE_S, Whole

ERROR_CHARS_MAX = 300
UNKNOWN = "unknown"
"""The reason of a failed row whose error does not begin with a word and a colon."""
_REASON = re.compile(r"([a-z_]{1,32}):")
_FOREVER = datetime(MAXYEAR, 12, 31, tzinfo=UTC).timestamp()
_NEVER = float("-inf")


class _Slow(Exception):
    """A part could not be had this time; its last answer has to do."""


class HealthSampler:
    """Looks at the table's health, and remembers what it may not find the next time."""

    def __init__(self, connections: Connections, queries: Queries) -> None:
        self._connections = connections
        self._queries = queries
        self._failures: tuple[FailedRow, ...] = ()
        self._oldest_sent: float | None = None
        self._whole = Whole()

    async def sample(self) -> Health:
        """Ask each part, within seconds. Raises StoreUnavailable, and nothing else for what strangers have named."""
        ((answer,),) = await self._ask(self._queries.health)
        with suppress(_Slow):
            self._failures = tuple(map(_failed_row, await self._part(self._queries.failures)))
        with suppress(_Slow):
            self._oldest_sent = await self._find_oldest_sent()
        return health_of(answer, self._failures, self._oldest_sent)

    async def _find_oldest_sent(self) -> float | None:
        whole = self._oldest_sent is None or self._whole.allowed
        if whole and not self._whole.allowed:
            raise _Slow
        with self._whole.look() if whole else nullcontext():
            found = await self._part(self._queries.oldest_sent, {"since": _NEVER if whole else self._oldest_sent})
        return found[0][0] if found else None

    async def _part(self, query: bytes, params: Mapping[str, object] | None = None) -> list[Sequence[Any]]:
        """Ask a part that the others can do without."""
        try:
            return await self._ask(query, params)
        except StoreUnavailable as error:
            if error.fault in {Fault.TIMEOUT, Fault.OTHER}:
                raise _Slow from None
            raise

    async def _ask(self, query: bytes, params: Mapping[str, object] | None = None) -> list[Sequence[Any]]:
        try:
            async with self._connections.transaction("health", SAMPLE, SAMPLE_TIMEOUT_S + GRACE_S) as conn:
                return await (await conn.execute(query, params or {})).fetchall()
        except (psycopg.Error, UnicodeError) as error:
            # Sessions, slots and transactions carry the names of strangers: not worth the end of a relay.
            raise StoreUnavailable(Fault.OTHER, f"the table's health cannot be read: {type(error).__name__}") from None


def health_of(answer: Mapping[str, Any], failures: Sequence[FailedRow], oldest_sent: float | None) -> Health:
    """Read the answer of health.sql; pure."""
    return Health(
        live_tuples=answer["live_tuples"],
        dead_tuples=answer["dead_tuples"],
        table_bytes=answer["table_bytes"],
        index_bytes=answer["index_bytes"],
        complete=answer["complete"],
        sampled_at=answer["sampled_at"],
        last_autovacuum_at=answer["last_autovacuum_at"],
        oldest_sent_at=None if oldest_sent is None else _time(oldest_sent),
        snapshots=tuple(Snapshot(**{**each, "holder": Holder(each["holder"])}) for each in answer["snapshots"]),
        replicas=tuple(map(_replica, answer["relays"])),
        failures=tuple(failures),
    )


def _replica(application: str) -> Replica:
    """Take apart what a relay calls itself, see relay.app.wire."""
    version, _, name = application.removeprefix("relay/").partition(" ")
    return Replica(name, version)


def _failed_row(row: Sequence[Any]) -> FailedRow:
    row_id, failures, failed_at, written = row
    error = (written or b"").decode("utf-8", "replace")
    reason = _REASON.match(error)
    return FailedRow(
        row_id=row_id,
        reason=reason[1] if reason else UNKNOWN,
        error=error[:ERROR_CHARS_MAX],
        failures=failures,
        failed_at=_time(failed_at),
    )


def _time(seconds: float) -> float:
    """Bound a time that a stranger may have set to infinity."""
    return min(max(seconds, 0.0), _FOREVER)
