"""An outbox table in memory, with leases, tokens, limits and a database that can be taken away."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from relay.model import Claim, Failed, Fault, Mark, Refusal, Release, Retry, Row, Sent
from relay.ports import StoreUnavailable
from tests.doubles.rows import a_row

BODY = b'{"n": 1}'


@dataclass(slots=True)
class Stored:
    """A row as the table holds it."""

    row: Row
    available_at: float
    status: str = "pending"
    claims: int = 0
    failures: int = 0
    claimed_until: float | None = None
    token: UUID | None = None
    last_error: str | None = None
    reason: Refusal | None = None


class MemoryStore:
    """Fills relay.ports.Store and keeps its promises; `rows` is the table."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        lease_s: float = 60.0,
        batch_bytes: int = 8 * 2**20,
        message_bytes_max: int = 2**20,
    ) -> None:
        self._now = now
        self._lease_s = lease_s
        self._batch_bytes = batch_bytes
        self._message_bytes_max = message_bytes_max
        self.rows: dict[int, Stored] = {}
        self.calls: list[tuple[str, float]] = []
        """Every question asked, and when."""
        self.claims: list[tuple[int, int, list[int]]] = []
        """Every claim that came through: its limit, its low mark, and the rows it took."""
        self.marks: list[Mark] = []
        """Every mark that took effect, in order."""
        self.down: Fault | None = None
        """Why nothing is answered; None when all is well."""
        self.delay_s: dict[str, float] = {}
        """How long an operation takes."""
        self.reply_s = 0.0
        """How long the answer to a claim is on its way, after it was committed."""
        self.bug: Exception | None = None
        """Raised by the next claim: not a failure of the world, but of the code."""
        self._faults: dict[str, deque[bool]] = defaultdict(deque)
        self._tokens = 0
        self._unheard: UUID | None = None
        self.on_call: Callable[[str], None] = lambda _: None
        """Called with the operation before it does anything."""

    # -- what a test does ---------------------------------------------------------------------------------------

    def commit(self, *, n: int = 1, delay_s: float = 0.0, **columns: Any) -> list[int]:
        """Commit rows as a producer does; `id` picks the id of one that commits late, `claims` its history."""
        ids: list[int] = []
        for _ in range(n):
            row_id = columns.get("id") or max(self.rows, default=0) + 1
            given: dict[str, Any] = {"payload": BODY, "payload_bytes": len(columns.get("payload", BODY))}
            row = a_row(**(given | columns | {"id": row_id, "message_id": UUID(int=row_id)}))
            claims = row.claims if "claims" in columns else 0
            self.rows[row_id] = Stored(row, self._now() + delay_s, claims=claims, failures=row.failures)
            ids.append(row_id)
        return ids

    def fail_next(self, op: str, *, after: bool = False) -> None:
        """Let the next call of `op` fail; `after` it took effect, as when only the reply was lost."""
        self._faults[op].append(after)

    def heal(self) -> None:
        """Be well from now on: up, quick, and without a failure to come."""
        self.down = None
        self.delay_s.clear()
        self._faults.clear()

    def overtake(self, row_id: int) -> None:
        """Let another relay take the row, as after the end of its lease."""
        stored = self.rows[row_id]
        self._tokens += 1
        stored.token, stored.claims = UUID(int=2**64 + self._tokens), stored.claims + 1
        stored.claimed_until = self._now() + self._lease_s

    def statuses(self) -> dict[int, str]:
        """The status of each row."""
        return {row_id: stored.status for row_id, stored in self.rows.items()}

    def ids(self, status: str) -> list[int]:
        """The rows of that status, in order."""
        return sorted(row_id for row_id, stored in self.rows.items() if stored.status == status)

    def leased(self) -> list[int]:
        """The pending rows somebody holds."""
        return [row_id for row_id in self.ids("pending") if not self._free(self.rows[row_id])]

    def asked(self, op: str, *, since: float = 0.0) -> int:
        """How often the operation was asked since then."""
        return sum(name == op and at >= since for name, at in self.calls)

    # -- what the relay does ------------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Fail while the database is down."""
        await self._op("ready")

    async def claim(self, *, limit: int, low: int) -> Claim:
        """Lease due rows."""
        assert limit > 0
        taken_at = self._now()
        lost = await self._op("claim")
        if self.bug is not None:
            raise self.bug
        for stored in self.rows.values():  # of a claim whose reply was lost
            if self._unheard is not None and self._ours(stored, self._unheard):
                stored.claims, stored.claimed_until = stored.claims - 1, None
        due = sorted(i for i, s in self.rows.items() if i >= low and self._due(s))[:limit]
        fit = self._cut(due)
        self._tokens += 1
        token = UUID(int=self._tokens)
        rows = tuple(self._take(self.rows[row_id], token) for row_id in fit)
        self._unheard = token if lost else None
        self.claims.append((limit, low, fit))
        await asyncio.sleep(self.reply_s)
        self._reply(lost)
        return Claim(token, rows, taken_at, more=len(due) == limit or len(fit) < len(due))

    async def renew(self, token: UUID, row_ids: Sequence[int]) -> frozenset[int]:
        """Lengthen leases that are still ours."""
        lost = await self._op("renew")
        ours = frozenset(row_id for row_id in row_ids if self._ours(self.rows[row_id], token))
        for row_id in ours:
            self.rows[row_id].claimed_until = self._now() + self._lease_s
        self._reply(lost)
        return ours

    async def settle(self, token: UUID, marks: Sequence[Mark]) -> frozenset[int]:
        """Write marks."""
        assert marks
        lost = await self._op("settle")
        not_ours = frozenset(mark.row_id for mark in marks if not self._mark(mark, token))
        self._reply(lost)
        return not_ours

    # -- the table ----------------------------------------------------------------------------------------------

    async def _op(self, op: str) -> bool:
        """Record the call, let its time pass, fail when told; return whether the reply will be lost."""
        self.calls.append((op, self._now()))
        self.on_call(op)
        await asyncio.sleep(self.delay_s.get(op, 0.0))
        if self.down is not None:
            raise StoreUnavailable(self.down, "the database is down")
        after = self._faults[op].popleft() if self._faults[op] else None
        if after is False:
            raise StoreUnavailable(Fault.LOST, f"{op} was lost")
        return after is True

    def _reply(self, lost: bool) -> None:  # noqa: FBT001 - the answer of _op, handed on
        if lost:
            raise StoreUnavailable(Fault.LOST, "the reply was lost")

    def _free(self, stored: Stored) -> bool:
        return stored.claimed_until is None or stored.claimed_until <= self._now()

    def _due(self, stored: Stored) -> bool:
        return stored.status == "pending" and stored.available_at <= self._now() and self._free(stored)

    def _ours(self, stored: Stored, token: UUID) -> bool:
        return stored.status == "pending" and stored.token == token and stored.claimed_until is not None

    def _cut(self, due: Sequence[int]) -> list[int]:
        fit: list[int] = []
        so_far = 0
        for row_id in due:
            size = self.rows[row_id].row.payload_bytes
            so_far += size if size <= self._message_bytes_max else 0
            if fit and so_far > self._batch_bytes:
                break
            fit.append(row_id)
        return fit

    def _take(self, stored: Stored, token: UUID) -> Row:
        stored.claims += 1
        stored.token, stored.claimed_until = token, self._now() + self._lease_s
        row = stored.row
        fetched = row.payload_bytes <= self._message_bytes_max
        return a_row(
            **{name: getattr(row, name) for name in row.__slots__}
            | {
                "payload": row.payload if fetched else None,
                "claims": stored.claims,
                "failures": stored.failures,
                "doubtful": stored.last_error is not None,
                "waited_s": max(0.0, self._now() - stored.available_at),
            }
        )

    def _mark(self, mark: Mark, token: UUID) -> bool:
        """Write one mark; return whether the row was ours, or was so when the mark was written before."""
        stored = self.rows[mark.row_id]
        if isinstance(mark, Sent):
            if stored.status != "sent":
                stored.status, stored.claimed_until = "sent", None
                self.marks.append(mark)
            return True
        if not self._ours(stored, token):
            return stored.token == token and stored.claimed_until is None
        stored.claimed_until = None
        self.marks.append(mark)
        match mark:
            case Retry(delay_s=delay_s, error=error):
                stored.failures, stored.available_at = stored.failures + 1, self._now() + delay_s
                stored.last_error = error
            case Failed(reason=reason, error=error):
                stored.status, stored.failures = "failed", stored.failures + 1
                stored.last_error, stored.reason = error, reason
            case Release(doubt=doubt):
                stored.claims -= 1
                stored.last_error = doubt if doubt is not None else stored.last_error
        return True
