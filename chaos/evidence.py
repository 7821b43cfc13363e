"""The history, sorted for judgement: which rows are in force, which delivery was the first, which are copies. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chaos.history import Arrival, Attempt, Fate, Fault, FinalRow, History
from demo.verdict import copies
from relay.model import Refusal


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the judgements look at."""

    history: History
    attempts: Mapping[str, Attempt]
    committed: Mapping[str, Attempt]
    """Those whose transaction holds: it was answered, or the final table has the row."""
    rows: Mapping[str, FinalRow]
    """The final table; rows that no producer tried are not in it."""
    firsts: Mapping[str, Arrival]
    """The first delivery of each message, in their order."""
    copies: Sequence[Arrival]
    """Further deliveries that the relay published."""
    redelivered: int
    """Further deliveries that the broker handed out by itself."""

    @property
    def missing(self) -> list[str]:
        """Committed rows that are not in the final table."""
        return [message_id for message_id in self.committed if message_id not in self.rows]

    @property
    def erased(self) -> frozenset[str]:
        """Committed rows that Postgres may have forgotten, because a fault of the run makes it forget."""
        return frozenset(self.missing if any(fault.erases for fault in self.history.faults) else ())

    def of_status(self, status: str) -> list[FinalRow]:
        """Return the rows of that status."""
        return [row for row in self.rows.values() if row.status == status]

    def explained(self, row: FinalRow) -> bool:
        """Return whether the refusals that row was charged with were to be expected."""
        attempt, reason = self.attempts[row.message_id], refusal(row.last_error)
        expected = {attempt.refusal} - {""}
        expected |= {name for fault in self.history.faults if touched(fault, attempt, row) for name in fault.refusals}
        # A doubt may have been noted over the refusal: then any that was possible will do.
        return bool(expected) if reason is None else reason in expected


def sift(history: History) -> Evidence:
    """Sort a history."""
    attempts = {each.message_id: each for each in history.attempts}
    rows = {row.message_id: row for row in history.rows if row.message_id in attempts}
    firsts: dict[str, Arrival] = {}
    for arrival in history.arrivals:
        firsts.setdefault(arrival.message_id, arrival)
    again = copies(history.arrivals)
    return Evidence(
        history,
        attempts=attempts,
        committed={
            message_id: each
            for message_id, each in attempts.items()
            if each.fate is Fate.COMMITTED or (each.fate is Fate.UNKNOWN and message_id in rows)
        },
        rows=rows,
        firsts=firsts,
        copies=again,
        redelivered=len(history.arrivals) - len(firsts) - len(again),
    )


def refusal(last_error: str | None) -> str | None:
    """Return the refusal an error text begins with; None when it tells of none."""
    word = (last_error or "").partition(":")[0]
    return word if word in {*Refusal} else None


def touched(fault: Fault, attempt: Attempt, row: FinalRow | None = None) -> bool:
    """Return whether the fault may have met a row: not over before its INSERT, not begun after its end."""
    settled_at = None if row is None else row.settled_at
    return fault.ended >= attempt.at and (settled_at is None or fault.began <= settled_at)
