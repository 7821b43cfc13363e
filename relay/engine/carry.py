"""One claim's way: rows are sealed, published, and each is marked as soon as its outcome is known.

A row whose outcome a closed channel left unknown is published again by itself, so that only a row that fails alone
is blamed. While a publish is unresolved the lease is renewed; past half of it nothing is published without renewing,
and nothing is published at all once a server is known to be gone.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing

from relay import decide
from relay.engine.desk import Desk
from relay.engine.lease import Lease
from relay.engine.tally import Tally
from relay.envelope import seal
from relay.model import (
    Answer,
    Claim,
    Confirmed,
    Doubt,
    Envelope,
    Failed,
    Fault,
    Mark,
    Refusal,
    Refused,
    Retry,
    Row,
    Sent,
    TickReport,
    Unknown,
    Unreachable,
)

SUSPECTS_MAX = 10_000
MARKS_S = 0.1
"""So long a mark may wait for those of the next waves: a relay that dies meanwhile repeats the row."""
GONE = "a server was lost before it was published"
HELD = "an earlier row of its key is neither sent nor given up"


class Batch:
    """One claim in hand, until every row of it has an outcome and a mark."""

    def __init__(self, claim: Claim, desk: Desk, suspects: set[int]) -> None:
        self._claim = claim
        self._desk = desk
        self._suspects = suspects
        """Rows of any claim that a closed channel left unknown, or was closed by: they travel alone."""
        self._open = {row.id: row for row in claim.rows}
        """Rows without an outcome yet."""
        self._tally = Tally(claim.rows)
        self._lease = Lease(claim, desk, self._tally)
        self._began_at = desk.chance.now()
        self._held_keys: set[str | None] = set()
        """With order: keys of which a row is neither sent nor given up, so that none may follow it."""
        self._unwritten: list[Mark] = []
        """Marks on their way to the database, for the case that it is cancelled, or waiting for the next wave's."""
        self._write_at = self._began_at + MARKS_S
        self._last_wave = True

    async def carry(self, *, after: asyncio.Event | None = None) -> TickReport:
        """Bring every row to a mark, publishing nothing before `after`; cancelled, give the rest back."""
        try:
            await self._publish(after)
        except asyncio.CancelledError:
            await self._abandon()
            raise
        if self._open or not self._tally.complete():
            raise AssertionError(f"rows went missing: {len(self._claim.rows)} claimed, {len(self._open)} open")
        proof = self._tally.proof()
        if proof is not None:
            self._desk.servers.proved("broker", proof)
        claim_s = self._began_at - self._claim.taken_at
        return self._tally.report(claim_s=claim_s, carry_s=self._desk.chance.now() - self._began_at)

    async def _publish(self, after: asyncio.Event | None) -> None:
        rows = self._claim.rows
        if after is not None:
            if not after.is_set() and any(map(decide.suspect, rows)):
                # Were a row in other hands the killer, a suspect that waits here would be counted for its deed.
                await self._give_back((row.id for row in rows), "a suspected killer travels alone")
                rows = ()
            await after.wait()
        waves = decide.waves(rows) if self._desk.policy.ordered else (rows,)
        for number, wave in enumerate(waves, start=1):
            self._last_wave = number == len(waves)
            held = [row.id for row in wave if row.key in self._held_keys]
            await self._give_back(held, HELD)
            await self._send_wave([row for row in wave if row.key not in self._held_keys] if held else wave)
        await self._write()

    async def _send_wave(self, rows: Sequence[Row]) -> None:
        """Publish rows side by side, and then those that must travel alone, until each has its mark."""
        if self._desk.servers.gone:
            await self._give_back((row.id for row in rows), GONE)
            return
        together, alone = decide.quarantine(rows, self._suspects)
        sealed = await self._seal(together)
        async with self._desk.air.shared():
            unknown = await self._send(sealed)
        again = [row._replace(doubtful=True) for row in together if row.id in unknown]
        await self._send_alone(await self._seal([*alone, *again]))

    async def _give_back(self, row_ids: Iterable[int], why: str) -> None:
        """Release rows that this claim did not publish, or whose doubt is noted already."""
        await self._settle([self._close(row_id, Unreachable(Fault.OTHER, why, written=False)) for row_id in row_ids])

    async def _seal(self, rows: Iterable[Row]) -> list[Envelope]:
        """Make the envelopes; rows that cannot become one are failed at once."""
        envelopes: list[Envelope] = []
        refused: list[Answer] = []
        for row in rows:
            if decide.hopeless(row):  # and it may be sealing it that kills
                detail = f"the relay died {row.unanswered} times with this row in hand"
                refused.append(Answer(row.id, Refused(Refusal.CRASH_LOOP, detail)))
                continue
            sealed = seal(row, self._desk.policy.seal)
            if isinstance(sealed, Refused):
                refused.append(Answer(row.id, sealed))
            else:
                envelopes.append(sealed)
        await self._take(refused)
        return envelopes

    async def _send(self, envelopes: Sequence[Envelope]) -> dict[int, Unknown]:
        """Publish a batch and settle its answers as they come; return the rows they leave unknown."""
        unknown: dict[int, Unknown] = {}
        envelopes = await self._still_ours(envelopes)
        if not envelopes:
            return unknown
        self._tally.flown.update(envelope.row_id for envelope in envelopes)
        asked_at = self._desk.chance.now()
        async with aclosing(self._desk.publisher.publish(envelopes)) as flight:
            async for answers in flight:
                self._tally.publish_s += self._desk.chance.now() - asked_at
                self._desk.observer.turned()
                unknown |= await self._take(answers)
                if self._open and self._lease.due:
                    await self._lease.renew(tuple(self._open))
                asked_at = self._desk.chance.now()
        return unknown

    async def _send_alone(self, envelopes: Sequence[Envelope]) -> None:
        """Publish one at a time; once a server is gone, the rest goes back and stays under suspicion."""
        for position, envelope in enumerate(envelopes):
            async with self._desk.air.alone():
                if await self._lost():
                    await self._give_back((each.row_id for each in envelopes[position:]), GONE)
                    return
                unknown = await self._send([envelope])
                # Nothing was beside it, so whatever the broker closed, it closed because of this row.
                await self._take([Answer(i, Refused(Refusal.BLAMED, end.detail)) for i, end in unknown.items()])

    async def _lost(self) -> bool:
        """Return whether a server is gone; the broker is asked, because a closed channel must be opened anew."""
        if self._desk.servers.gone:
            return True
        lost = await self._desk.publisher.ready()
        if lost is not None:
            self._broker_failed(lost)
        return lost is not None

    async def _take(self, answers: Sequence[Answer]) -> dict[int, Unknown]:
        """Mark what the answers decide; return the rows they leave unknown."""
        unknown: dict[int, Unknown] = {}
        marks: list[Mark] = []
        for row_id, outcome in ((answer.row_id, answer.outcome) for answer in answers):
            if isinstance(outcome, Unknown):
                unknown[row_id] = outcome
                self._suspect(row_id)
                self._tally.doubts[row_id] = Doubt.CHANNEL_CLOSED
                continue
            marks.append(self._close(row_id, outcome))
            if isinstance(outcome, Unreachable):
                self._broker_failed(outcome)
            elif isinstance(outcome, Refused) and outcome.reason in decide.CLOSING and isinstance(marks[-1], Retry):
                self._suspect(row_id)
            else:
                self._suspects.discard(row_id)
        await self._settle(marks)
        return unknown

    def _suspect(self, row_id: int) -> None:
        if len(self._suspects) >= SUSPECTS_MAX:  # others of them are long settled by another relay; none costs a row
            self._suspects.clear()
        self._suspects.add(row_id)

    def _broker_failed(self, lost: Unreachable) -> None:
        self._tally.broker_failed = True
        self._desk.servers.failed("broker", lost.fault, lost.detail)

    def _close(self, row_id: int, outcome: Confirmed | Refused | Unreachable) -> Mark:
        """Count the outcome of a row and decide its mark."""
        row = self._open.pop(row_id)
        now, jitter = self._desk.chance.now(), self._desk.chance.jitter()
        self._tally.outcome(row, outcome, held_s=now - self._claim.taken_at)
        if isinstance(outcome, Unreachable) and row_id in self._tally.doubts:
            outcome = Unreachable(outcome.fault, outcome.detail, written=True)
        policy = self._desk.policy
        mark = decide.mark(row, outcome, policy.retry, jitter=jitter)
        if policy.ordered and decide.holds_key(row, mark, failed_blocks_key=policy.failed_blocks_key):
            self._held_keys.add(row.key)
        return mark

    async def _settle(self, marks: Sequence[Mark]) -> None:
        """Write marks; between two waves those of rows sent are written together, as a wave may be one row."""
        self._unwritten.extend(marks)
        waits = not self._last_wave and self._desk.chance.now() < self._write_at
        if not (waits and all(isinstance(mark, Sent) for mark in marks)):
            await self._write()

    async def _write(self) -> None:
        """Write the marks that are not written, or let the ledger keep them for later."""
        marks = tuple(self._unwritten)
        if not marks:
            return
        lost = await self._desk.ledger.write(self._claim.token, marks)
        self._unwritten.clear()
        self._write_at = self._desk.chance.now() + MARKS_S
        self._hold(mark.row_id for mark in marks if isinstance(mark, Failed) and (lost is None or mark.row_id in lost))
        self._tally.marked(marks)
        self._lease.overtaken(lost or ())

    def _hold(self, row_ids: Iterable[int]) -> None:
        """Let nothing follow rows that are given up here alone: another relay has them, or will, and may send them."""
        if self._desk.policy.ordered:
            for row_id in row_ids:
                self._held_keys |= {row.key for row in self._claim.rows if row.id == row_id and row.key is not None}

    async def _abandon(self) -> None:
        """Write the marks in hand and give the rest back, so that another relay may take it at once."""
        marks = list(self._unwritten)
        for row_id in tuple(self._open):
            stopped = Unreachable(Fault.OTHER, "stopped before its confirm", written=row_id in self._tally.flown)
            marks.append(self._close(row_id, stopped))
        if marks:
            await self._desk.ledger.write(self._claim.token, marks, last=True)

    async def _still_ours(self, envelopes: Sequence[Envelope]) -> Sequence[Envelope]:
        """Return what may be published: past half of the lease, only rows whose lease could be renewed."""
        if self._lease.sure:
            return envelopes
        ours = await self._lease.ours(tuple(self._open))
        await self._give_back((each.row_id for each in envelopes if each.row_id not in ours), "the lease was lost")
        return [each for each in envelopes if each.row_id in ours]
