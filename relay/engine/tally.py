"""What became of the rows of one claim, counted until the report."""

from collections import Counter
from collections.abc import Iterable, Sequence

from relay.model import (
    Confirmed,
    Doubt,
    Failed,
    Fault,
    Mark,
    Refusal,
    Refused,
    Release,
    Retry,
    Row,
    TickReport,
    Unreachable,
)
from relay.outage import Proof

OWN_REFUSALS = frozenset({Refusal.INVALID, Refusal.TOO_LARGE, Refusal.CRASH_LOOP})
"""Refusals the relay decided without asking the broker."""
DOUBTS = {Fault.TIMEOUT: Doubt.CONFIRM_TIMEOUT, Fault.BLOCKED: Doubt.BLOCKED}


class Tally:
    """Counts outcomes, doubts, marks and delays of one batch."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = tuple(rows)
        self._outcomes: Counter[str] = Counter()
        self._marks: list[Mark] = []
        self._delays_s: list[float] = []
        self.doubts: dict[int, Doubt] = {row.id: Doubt.RELAY_DIED for row in self._rows if row.unanswered > 0}
        """Rows that may have arrived although no confirm was seen."""

    def outcome(self, row: Row, outcome: Confirmed | Refused | Unreachable, *, held_s: float) -> None:
        """Count the outcome of a row that has been in hand for `held_s` seconds."""
        match outcome:
            case Confirmed():
                self._outcomes["confirmed"] += 1
                self._delays_s.append(row.waited_s + held_s)
            case Refused(reason=reason):
                self._outcomes[reason] += 1
            case Unreachable(fault=fault, written=written):
                self._outcomes["unreachable"] += 1
                if written:
                    self.doubts[row.id] = DOUBTS.get(fault, Doubt.CONNECTION_LOST)

    def written(self, marks: Sequence[Mark]) -> None:
        """Count marks that the database took."""
        self._marks.extend(marks)

    def complete(self) -> bool:
        """Return whether every claimed row has exactly one outcome."""
        return self._outcomes.total() == len(self._rows)

    def proof(self) -> Proof | None:
        """Return what the batch proves about the broker; None when it failed, which was told when it was met."""
        if self._outcomes["unreachable"]:
            return None
        if self._outcomes["confirmed"]:
            return Proof.SUCCESS
        asked = any(reason not in OWN_REFUSALS for reason in +self._outcomes)
        return Proof.ANSWER if asked else Proof.CONNECTION

    def report(self, *, claim_s: float, carry_s: float) -> TickReport:
        """Sum up."""
        return TickReport(
            claimed=len(self._rows),
            outcomes=dict(+self._outcomes),
            retried=sum(isinstance(mark, Retry) for mark in self._marks),
            failed=Counter(mark.reason for mark in self._marks if isinstance(mark, Failed)),
            released=sum(isinstance(mark, Release) for mark in self._marks),
            doubts=Counter(self.doubts.values()),
            delays_s=tuple(self._delays_s),
            claim_s=claim_s,
            carry_s=carry_s,
        )
