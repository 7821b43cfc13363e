"""One claim's way: rows are sealed, published, and each is marked as soon as its outcome is known.

A row whose outcome a closed channel left unknown is published again by itself, so that only a row that fails alone
is blamed. While a publish is unresolved the lease is renewed; past half of it nothing is published without renewing.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from relay import decide
from relay.engine.ledger import Ledger
from relay.engine.policy import Chance, EnginePolicy
from relay.engine.servers import Servers
from relay.engine.tally import Tally
from relay.envelope import seal
from relay.model import (
    Answer,
    Claim,
    Confirmed,
    Doubt,
    Envelope,
    Fault,
    Mark,
    Refusal,
    Refused,
    Row,
    TickReport,
    Unknown,
    Unreachable,
)
from relay.ports import Observer, Publisher, Store, StoreUnavailable

RENEW_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Desk:
    """What a batch works with."""

    store: Store
    publisher: Publisher
    observer: Observer
    servers: Servers
    ledger: Ledger
    policy: EnginePolicy
    chance: Chance


class Batch:
    """One claim in hand, until every row of it has an outcome and a mark."""

    def __init__(self, claim: Claim, desk: Desk, suspects: set[int]) -> None:
        self._claim = claim
        self._desk = desk
        self._suspects = suspects
        """Rows of any claim that a closed channel left unknown: they travel alone until they are answered."""
        self._open = {row.id: row for row in claim.rows}
        """Rows without an outcome yet."""
        self._tally = Tally(claim.rows)
        self._began_at = desk.chance.now()
        self._renew_at = claim.taken_at + desk.policy.lease_s / 2
        self._unwritten: list[Mark] = []
        """Marks on their way to the database, for the case that the writing is cancelled."""

    async def carry(self) -> TickReport:
        """Bring every row to a mark; cancelled, give the rest back."""
        try:
            await self._publish()
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

    # -- publish ------------------------------------------------------------------------------------------------

    async def _publish(self) -> None:
        rows, back = decide.keep_in_hand(self._claim.rows)
        if not await self._give_back(back, "a suspected killer travels alone"):
            await self._give_back(rows, "the database was lost")
            return
        together, alone = decide.quarantine(rows, self._suspects)
        unknown = await self._send(await self._seal(together))
        await self._send_alone([*await self._seal(alone), *unknown])

    async def _give_back(self, rows: Iterable[Row], why: str) -> bool:
        """Release rows that were never published; return whether the database took it."""
        return await self._settle([self._close(row.id, Unreachable(Fault.OTHER, why, written=False)) for row in rows])

    async def _seal(self, rows: Iterable[Row]) -> list[Envelope]:
        """Make the envelopes; rows that cannot become one are failed at once."""
        envelopes: list[Envelope] = []
        refused: list[Answer] = []
        for row in rows:
            sealed = seal(row, self._desk.policy.seal)
            if decide.hopeless(row):
                detail = f"the relay died {row.unanswered} times with this row in hand"
                refused.append(Answer(row.id, Refused(Refusal.CRASH_LOOP, detail)))
            elif isinstance(sealed, Refused):
                refused.append(Answer(row.id, sealed))
            else:
                envelopes.append(sealed)
        await self._take(refused)
        return envelopes

    async def _send(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """Publish a batch and settle its answers as they come; return what must be published again, alone."""
        unknown: set[int] = set()
        envelopes = await self._still_ours(envelopes)
        if envelopes:
            async with aclosing(self._desk.publisher.publish(envelopes)) as flight:
                async for answers in flight:
                    unknown |= await self._take(answers)
                    if self._open and self._desk.chance.now() >= self._renew_at:
                        await self._renew()
                    self._desk.observer.turned()
        return [envelope for envelope in envelopes if envelope.row_id in unknown]

    async def _send_alone(self, envelopes: Sequence[Envelope]) -> None:
        """Publish one at a time; when the broker is gone, the rest goes back and stays under suspicion."""
        for position, envelope in enumerate(envelopes):
            lost = await self._desk.publisher.ready()
            if lost is not None:
                await self._take([Answer(each.row_id, lost) for each in envelopes[position:]])
                return
            if await self._send([envelope]):
                raise AssertionError("a message alone in flight cannot have an unknown outcome")

    # -- outcomes -----------------------------------------------------------------------------------------------

    async def _take(self, answers: Sequence[Answer]) -> set[int]:
        """Mark what the answers decide; return the rows they leave unknown."""
        unknown: set[int] = set()
        marks: list[Mark] = []
        for row_id, outcome in ((answer.row_id, answer.outcome) for answer in answers):
            if isinstance(outcome, Unknown):
                unknown.add(row_id)
                self._suspects.add(row_id)
                self._tally.doubts[row_id] = Doubt.CHANNEL_CLOSED
                continue
            if isinstance(outcome, Unreachable):
                self._desk.servers.failed("broker", outcome.fault, outcome.detail)
            else:
                self._suspects.discard(row_id)
            marks.append(self._close(row_id, outcome))
        await self._settle(marks)
        return unknown

    def _close(self, row_id: int, outcome: Confirmed | Refused | Unreachable) -> Mark:
        """Count the outcome of a row and decide its mark."""
        row = self._open.pop(row_id)
        now, jitter = self._desk.chance.now(), self._desk.chance.jitter()
        self._tally.outcome(row, outcome, held_s=now - self._claim.taken_at)
        if isinstance(outcome, Unreachable) and row_id in self._tally.doubts:
            outcome = Unreachable(outcome.fault, outcome.detail, written=True)
        return decide.mark(row, outcome, self._desk.policy.retry, jitter=jitter)

    async def _settle(self, marks: Sequence[Mark]) -> bool:
        """Write marks; return False when the ledger keeps them for later."""
        if not marks:
            return True
        self._unwritten.extend(marks)
        lost = await self._desk.ledger.write(self._claim.token, marks)
        self._unwritten.clear()
        if lost is None:
            return False
        self._tally.written(marks)
        self._lost(lost)
        return True

    async def _abandon(self) -> None:
        """Write the marks in hand and give the rest back, so that another relay may take it at once."""
        stopped = Unreachable(Fault.OTHER, "stopped before its confirm", written=True)
        marks = [*self._unwritten, *(self._close(row_id, stopped) for row_id in tuple(self._open))]
        if marks:
            await self._desk.ledger.write(self._claim.token, marks)

    # -- lease --------------------------------------------------------------------------------------------------

    async def _still_ours(self, envelopes: Sequence[Envelope]) -> Sequence[Envelope]:
        """Return what may be published: past half of the lease, only rows whose lease could be renewed."""
        if self._desk.chance.now() < self._renew_at:
            return envelopes
        ours = await self._renew()
        await self._give_back([self._open[each.row_id] for each in envelopes if each.row_id not in ours], "lease lost")
        return [each for each in envelopes if each.row_id in ours]

    async def _renew(self) -> frozenset[int]:
        """Lengthen the lease of the rows without an outcome; return those that are certainly ours."""
        began = self._desk.chance.now()
        try:
            ours = await self._desk.store.renew(self._claim.token, tuple(self._open))
        except StoreUnavailable as error:
            self._renew_at = self._desk.chance.now() + RENEW_RETRY_S
            self._desk.servers.database_failed(error)
            return frozenset()
        self._renew_at = began + self._desk.policy.lease_s / 2
        self._lost(self._open.keys() - ours)
        return ours

    def _lost(self, row_ids: Collection[int]) -> None:
        fresh = [row_id for row_id in row_ids if self._tally.doubts.get(row_id) != Doubt.LEASE_LOST]
        self._tally.doubts.update(dict.fromkeys(fresh, Doubt.LEASE_LOST))
        if fresh:
            self._desk.observer.lease_lost(sorted(fresh))
