"""An outbox store in memory, with leases, tokens, limits and a database that can be taken away."""

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, NoReturn
from uuid import UUID

from relay.model import Claim, Fault, Mark, Row, Sent
from relay.ports import StoreUnavailable
from tests.doubles.rows import a_row
from tests.doubles.table import Stored, Table

BODY = b'{"n": 1}'


class Moment(Enum):
    """When a call fails."""

    BEFORE = auto()
    """Nothing took effect."""
    HALFWAY = auto()
    """Of a settle the rows marked sent took effect, and nothing else."""
    AFTER = auto()
    """All took effect, and only the reply was lost."""
    LATE = auto()
    """Of a claim: it takes effect when the relay has long given up, as after a wait for a standby."""


LATE_S = 5.0


class MemoryStore:
    """Fills relay.ports.Store and keeps its promises; `rows` is the table."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        lease_s: float = 60.0,
        batch_bytes: int = 8 * 2**20,
        message_bytes_max: int = 2**20,
        table: Table | None = None,
        ordered: bool = False,
        failed_blocks_key: bool = False,
        scan_ids: int = 20_000,
    ) -> None:
        self._now = now
        self.scan_ids = scan_ids
        """Ids one claim looks at; with order per key it looks at all."""
        self.table = table or Table(
            now,
            lease_s=lease_s,
            batch_bytes=batch_bytes,
            message_bytes_max=message_bytes_max,
            ordered=ordered,
            failed_blocks_key=failed_blocks_key,
        )
        self.rows = self.table.rows
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
        self._faults: dict[str, deque[Moment]] = defaultdict(deque)
        self._known = False
        """It was there, and no call has failed since."""
        self.proof_s = math.inf
        """So long after its last success the database counts as there without being asked."""
        self._proved_at = 0.0
        self._unheard: list[UUID] = []
        self._lazy: list[Sent] = []
        """Rows marked sent by commits that may not be on disk yet."""
        self._crashes = self.table.crashes
        """Crashes that were noticed."""
        self._found_dead = False
        """A connection was dead when it was to be used, and was replaced: a crash may have undone marks."""
        self.on_call: Callable[[str], None] = lambda _: None
        """Called with the operation before it does anything."""

    # -- what a test does ---------------------------------------------------------------------------------------

    def commit(self, *, n: int = 1, delay_s: float = 0.0, age_s: float = 0.0, **columns: Any) -> list[int]:
        """Commit rows as a producer does; `id` picks the id of one that commits late, `claims` its history."""
        ids: list[int] = []
        for _ in range(n):
            row_id = columns.get("id") or max(self.rows, default=0) + 1
            given: dict[str, Any] = {"payload": BODY, "payload_bytes": len(columns.get("payload", BODY))}
            row = a_row(**(given | columns | {"id": row_id, "message_id": str(UUID(int=row_id))}))
            claims = row.claims if "claims" in columns else 0
            now = self._now()
            self.rows[row_id] = Stored(row, now + delay_s, now - age_s, claims=claims, failures=row.failures)
            ids.append(row_id)
        return ids

    def fail_next(self, op: str, *, after: bool = False) -> None:
        """Let the next call of `op` fail; `after` it took effect, as when only the reply was lost."""
        self._faults[op].append(Moment.AFTER if after else Moment.BEFORE)

    def fail_next_settle_halfway(self) -> None:
        """Let the next settle fail between its two transactions."""
        self._faults["settle"].append(Moment.HALFWAY)

    def heal(self) -> None:
        """Be well from now on: up, quick, and without a failure to come."""
        self.down = None
        self.delay_s.clear()
        self._faults.clear()

    def overtake(self, row_id: int) -> None:
        """Let another relay take the row, as after the end of its lease."""
        self.table.take(row_id, self.table.token())

    def statuses(self) -> dict[int, str]:
        """The status of each row."""
        return {row_id: stored.status for row_id, stored in self.rows.items()}

    def ids(self, status: str) -> list[int]:
        """The rows of that status, in order."""
        return sorted(row_id for row_id, stored in self.rows.items() if stored.status == status)

    def leased(self) -> list[int]:
        """The pending rows somebody holds."""
        return [row_id for row_id in self.ids("pending") if not self.table.free(self.rows[row_id])]

    def asked(self, op: str, *, since: float = 0.0) -> int:
        """How often the operation was asked since then."""
        return sum(name == op and at >= since for name, at in self.calls)

    # -- what the relay does ------------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Ask the database once after each failure; write again what a crash undid, give back what nobody heard of."""
        sure = self._known and not self._found_dead and self._now() - self._proved_at <= self.proof_s
        if sure and not self._unheard:
            return
        self._found_dead = False
        lost = await self._op("ready")
        if not sure:
            self._mark_again()
        while self._unheard:
            self.table.give_back(self._unheard.pop())
        await self._reply("ready", lost)
        self._known = True

    def _mark_again(self) -> None:
        """Only what changed something waits for the disk; else the marks may not be there yet, and are kept."""
        changed = [self.table.mark(mark, self.table.token()) for mark in self._lazy]
        if any(changed):
            self.table.flush()
            self._lazy.clear()

    async def claim(self, *, limit: int, low: int) -> Claim:
        """Lease due rows."""
        assert limit > 0
        taken_at, bookmark = self._now(), len(self._lazy)
        token = self.table.token()
        try:
            lost = await self._op("claim")
            if self.bug is not None:
                raise self.bug
            if lost is Moment.LATE:
                asyncio.get_running_loop().call_later(LATE_S, self._take, token, limit, low)
                self._fail(Fault.TIMEOUT, "the claim was given up")
            rows, more, beyond = self._take(token, limit, low)
            await self._reply("claim", lost)
        except (StoreUnavailable, asyncio.CancelledError):
            self._unheard.append(token)
            raise
        if rows and not self._found_dead:
            del self._lazy[:bookmark]
        return Claim(token, rows, taken_at, more=more, beyond=beyond)

    def _take(self, token: UUID, limit: int, low: int) -> tuple[tuple[Row, ...], bool, int | None]:
        """Let a claim take effect."""
        high = 2**63 - 1 if self.table.ordered else low + self.scan_ids
        due = self.table.due(low, limit, high)
        fit = self.table.cut(due)
        self.claims.append((limit, low, fit))
        rows = tuple(self.table.take(row_id, token) for row_id in fit)
        return rows, len(due) == limit or len(fit) < len(due), self.table.first_pending(high)

    async def renew(self, token: UUID, row_ids: Sequence[int]) -> frozenset[int]:
        """Lengthen leases that are still ours."""
        lost = await self._op("renew")
        ours = frozenset(row_id for row_id in row_ids if self.table.ours(row_id, token))
        for row_id in ours:
            self.table.lease(self.rows[row_id], token)
        await self._reply("renew", lost)
        return ours

    async def settle(self, token: UUID, marks: Sequence[Mark]) -> frozenset[int]:
        """Write marks, those of rows sent in a transaction of their own."""
        assert marks
        moment = await self._op("settle")
        sent = [mark for mark in marks if isinstance(mark, Sent)]
        fenced = [mark for mark in marks if not isinstance(mark, Sent)]
        self.marks += [mark for mark in sent if self.table.mark(mark, token)]
        if moment is Moment.HALFWAY:
            self._fail(Fault.LOST, "the reply was lost")
        if sent:
            await self._reply("settle", None if fenced else moment)
            self._lazy += sent
        if not fenced:
            return frozenset()
        lost: set[int] = set()
        for mark in fenced:
            if self.table.mark(mark, token):
                self.marks.append(mark)
            elif not self.table.settled(mark.row_id, token):
                lost.add(mark.row_id)
        await self._reply("settle", moment)
        return frozenset(lost)

    async def _op(self, op: str) -> Moment | None:
        """Record the call, let its time pass, fail when told; return when else it is to fail."""
        self.calls.append((op, self._now()))
        self.on_call(op)
        self._found_dead = self._found_dead or self._crashes != self.table.crashes
        self._crashes = self.table.crashes
        await self._travel(self.delay_s.get(op, 0.0))
        moment = self._faults[op].popleft() if self._faults[op] else None
        if moment is Moment.BEFORE:
            self._fail(Fault.LOST, f"{op} was lost")
        return moment

    async def _reply(self, op: str, lost: Moment | None) -> None:
        """Let the answer come back, unless it is lost."""
        if lost is Moment.AFTER:
            self._fail(Fault.LOST, "the reply was lost")
        await self._travel(self.reply_s if op == "claim" else 0.0)
        self._proved_at = self._now()

    async def _travel(self, seconds: float) -> None:
        """Be on the way to the database or back; it may go in the meantime."""
        await asyncio.sleep(seconds)
        self._arrived()

    def _arrived(self) -> None:
        if self.down is not None:
            self._fail(self.down, "the database is down")
        if self._crashes != self.table.crashes:
            self._crashes = self.table.crashes
            self._fail(Fault.LOST, "the database crashed")

    def _fail(self, fault: Fault, detail: str) -> NoReturn:
        self._known = False
        raise StoreUnavailable(fault, detail)
