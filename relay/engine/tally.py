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

OWN_REFUSALS = frozenset({Refusal.INVALID, Refusal.TOO_LARGE, Refusal.CRASH_LOOP, Refusal.UNREADABLE})
"""Refusals the relay decided without asking the broker."""
DOUBTS = {Fault.TIMEOUT: Doubt.CONFIRM_TIMEOUT, Fault.BLOCKED: Doubt.BLOCKED}


class Tally:
    """Counts outcomes, doubts, marks and delays of one batch."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = tuple(rows)
        self._outcomes: Counter[str] = Counter()
        self._examples: dict[Refusal, str] = {}
        self._marks: list[Mark] = []
        self._delays_s: list[float] = []
        self.publish_s = 0.0
        self.doubts: dict[int, Doubt] = {row.id: Doubt.RELAY_DIED for row in self._rows if row.unanswered > 0}
        """Rows that may have arrived although no confirm was seen."""
        self.flown: set[int] = set()
        """Rows handed to the publisher."""
        self.broker_failed = False
        """The batch met an outage of the broker, which was told when it was met."""

    def outcome(self, row: Row, outcome: Confirmed | Refused | Unreachable, *, held_s: float) -> None:
        """Count the outcome of a row that has been in hand for `held_s` seconds."""
        match outcome:
            case Confirmed():
                self._outcomes["confirmed"] += 1
                self._delays_s.append(row.waited_s + held_s)
            case Refused(reason=reason, detail=detail):
                self._outcomes[reason] += 1
                self._examples.setdefault(reason, f"row {row.id}: {detail}")
            case Unreachable(fault=fault, written=written):
                self._outcomes["unreachable"] += 1
                if written:
                    self.doubts[row.id] = DOUBTS.get(fault, Doubt.CONNECTION_LOST)

    def marked(self, marks: Sequence[Mark]) -> None:
        """Count marks that were written, or are kept to be written later."""
        self._marks.extend(marks)

    def complete(self) -> bool:
        """Return whether every claimed row has exactly one outcome."""
        return self._outcomes.total() == len(self._rows)

    def proof(self) -> Proof | None:
        """Return what the batch proves about the broker: nothing when it failed, or when all rows went back."""
        answered = self._outcomes.keys() - {"unreachable"}
        if self.broker_failed or not answered:
            return None
        return Proof.ANSWER if answered - OWN_REFUSALS else Proof.CONNECTION

    def report(self, *, claim_s: float, carry_s: float) -> TickReport:
        """Sum up."""
        return TickReport(
            claimed=len(self._rows),
            outcomes=dict(self._outcomes),
            examples=dict(self._examples),
            retried=sum(isinstance(mark, Retry) for mark in self._marks),
            failed=Counter(mark.reason for mark in self._marks if isinstance(mark, Failed)),
            released=sum(isinstance(mark, Release) for mark in self._marks),
            doubts=Counter(doubt for row_id, doubt in self.doubts.items() if row_id in self.flown),
            delays_s=tuple(self._delays_s),
            claim_s=claim_s,
            publish_s=self.publish_s,
            carry_s=carry_s,
        )
