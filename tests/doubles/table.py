"""An outbox table in memory: what its rows become when they are claimed and marked. Several stores may share one."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from uuid import UUID

from relay.decide import SUSPECT_CLAIMS
from relay.model import Failed, Mark, Refusal, Release, Retry, Row, Sent

EMPTY = "{}"
FLUSH_S = 0.6
"""A commit that did not wait for the disk is there by then: three rounds of Postgres' writer, which is its bound."""


@dataclass(slots=True)
class Stored:
    """A row as the table holds it; times by the test's clock."""

    row: Row
    available_at: float
    created_at: float
    status: str = "pending"
    claims: int = 0
    failures: int = 0
    claimed_until: float | None = None
    token: UUID | None = None
    last_error: str | None = None
    reason: Refusal | None = None

    @property
    def rim(self) -> int:
        """Bytes of the row's headers and properties."""
        return len(self.row.headers.encode()) + len(self.row.properties.encode())


class Table:
    """Rows, and the rules by which they change hands."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        lease_s: float,
        batch_bytes: int,
        message_bytes_max: int,
        ordered: bool = False,
        failed_blocks_key: bool = False,
    ) -> None:
        self.now = now
        self.ordered = ordered
        self._failed_blocks_key = failed_blocks_key
        self.rows: dict[int, Stored] = {}
        self._lease_s = lease_s
        self._batch_bytes = batch_bytes
        self._message_bytes_max = message_bytes_max
        self._tokens = map(UUID, (f"{number:032x}" for number in count(1)))
        self._undo: list[tuple[float, Callable[[], object]]] = []
        """When each commit happened that may not be on disk yet, and what a crash makes of it; in order."""
        self.crashes = 0
        """How often the database crashed; who was connected then is not any more."""

    def token(self) -> UUID:
        """A token nobody has."""
        return next(self._tokens)

    # -- the disk -----------------------------------------------------------------------------------------------

    def lazily(self, undo: Callable[[], object]) -> None:
        """Commit without waiting for the disk."""
        self._undo.append((self.now(), undo))

    def flush(self) -> None:
        """Commit something that waits for the disk: the log is written in order, so all earlier commits are there."""
        self._undo.clear()

    def crash(self) -> int:
        """Lose the commits that were not on disk yet; how many."""
        lost = [undo for at, undo in self._undo if at > self.now() - FLUSH_S]
        for undo in reversed(lost):
            undo()
        self._undo.clear()
        self.crashes += 1
        return len(lost)

    # -- leases and marks ---------------------------------------------------------------------------------------

    def free(self, stored: Stored) -> bool:
        """Nobody holds the row."""
        return stored.claimed_until is None or stored.claimed_until <= self.now()

    def pending(self) -> list[int]:
        """The rows that are neither sent nor given up."""
        return [row_id for row_id, stored in self.rows.items() if stored.status == "pending"]

    def ours(self, row_id: int, token: UUID) -> bool:
        """The row is that lease's, also when it ran out and nobody took the row since."""
        stored = self.rows.get(row_id)
        return bool(stored and stored.status == "pending" and stored.token == token and stored.claimed_until)

    def due(self, low: int, limit: int, high: int) -> list[int]:
        """The first rows below `high` that may be claimed."""
        if self.ordered:
            return self._in_order()[:limit]
        pending = (row_id for row_id in self._from(low, high) if self.rows[row_id].status == "pending")
        found = (row_id for row_id in pending if self.rows[row_id].available_at <= self.now())
        return list(islice((row_id for row_id in found if self.free(self.rows[row_id])), limit))

    def first_pending(self, low: int) -> int | None:
        """The first row from there on that waits, due or not."""
        return next((row_id for row_id in self._from(low) if self.rows[row_id].status == "pending"), None)

    def _from(self, low: int, high: int | None = None) -> list[int]:
        """The ids of a part of the table, in order; no other row is looked at."""
        ids = sorted(self.rows)
        return ids[bisect_left(ids, low) : None if high is None else bisect_left(ids, high)]

    def _in_order(self) -> list[int]:
        """Rows that may be claimed and before which no row of their key waits or is in somebody's hands."""
        blocked: set[str | None] = set()
        if self._failed_blocks_key:
            blocked = {stored.row.key for stored in self.rows.values() if stored.status == "failed"} - {None}
        found: list[int] = []
        for row_id, stored in sorted(self.rows.items()):
            if stored.status != "pending" or stored.row.key in blocked:
                continue
            if stored.available_at <= self.now() and self.free(stored):
                found.append(row_id)
            elif stored.row.key is not None:
                blocked.add(stored.row.key)
        return found

    def cut(self, due: Sequence[int]) -> list[int]:
        """As many of them as fit the limit of bytes; at least one. A row over the largest message costs nothing.

        A suspected killer is taken with nothing else.
        """
        fit: list[int] = []
        so_far = 0
        for row_id in due:
            stored = self.rows[row_id]
            if stored.claims - stored.failures >= SUSPECT_CLAIMS:
                return fit or [row_id]
            so_far += self._size(stored) + stored.rim if self._size(stored) <= self._message_bytes_max else 0
            if fit and so_far > self._batch_bytes:
                break
            fit.append(row_id)
        return fit

    def _size(self, stored: Stored) -> int:
        """Bytes of the payload, or of headers that are larger than any message."""
        return stored.rim if stored.rim > self._message_bytes_max else stored.row.payload_bytes

    def take(self, row_id: int, token: UUID) -> Row:
        """Lease the row."""
        stored = self.rows[row_id]
        stored.claims += 1
        self.lease(stored, token)
        size = self._size(stored)
        fetched = size <= self._message_bytes_max
        due_at = stored.available_at if stored.failures == 0 else stored.created_at
        return stored.row._replace(
            payload=stored.row.payload if fetched else None,
            payload_bytes=size,
            headers=stored.row.headers if fetched else EMPTY,
            properties=stored.row.properties if fetched else EMPTY,
            claims=stored.claims,
            failures=stored.failures,
            doubtful=stored.last_error is not None,
            waited_s=max(0.0, self.now() - due_at),
        )

    def lease(self, stored: Stored, token: UUID) -> None:
        """Let the lease of the row begin now."""
        stored.token, stored.claimed_until = token, self.now() + self._lease_s
        self.flush()

    def give_back(self, token: UUID) -> None:
        """Undo a claim of which nobody heard."""
        for row_id, stored in self.rows.items():
            if self.ours(row_id, token):
                stored.claims, stored.claimed_until = stored.claims - 1, None
                self.flush()

    def mark(self, mark: Mark, token: UUID) -> bool:
        """Write one mark; return whether it changed the row."""
        if isinstance(mark, Sent):
            stored = self.rows.get(mark.row_id)
            if stored is None or stored.status == "sent" or stored.row.message_id != mark.message_id:
                return False
            self.lazily(partial(_restore, stored, stored.status, stored.claimed_until))
            stored.status, stored.claimed_until = "sent", None
            return True
        if not self.ours(mark.row_id, token):
            return False
        self.flush()
        stored = self.rows[mark.row_id]
        stored.claimed_until = None
        match mark:
            case Retry(delay_s=delay_s, error=error):
                stored.failures, stored.available_at = stored.failures + 1, self.now() + delay_s
                stored.last_error = error
            case Failed(reason=reason, error=error):
                stored.status, stored.failures = "failed", stored.failures + 1
                stored.last_error, stored.reason = error, reason
            case Release(doubt=doubt):
                stored.claims -= 1
                stored.last_error = doubt if doubt is not None else stored.last_error
        return True

    def settled(self, row_id: int, token: UUID) -> bool:
        """The row was marked before, under that very lease, and nobody took it since."""
        stored = self.rows.get(row_id)
        return bool(stored and stored.token == token and stored.claimed_until is None and stored.status != "sent")


def _restore(stored: Stored, status: str, claimed_until: float | None) -> None:
    stored.status, stored.claimed_until = status, claimed_until
