"""Which fault each of the relay's copies may be put down to. Pure."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from chaos.evidence import Evidence, touched
from chaos.history import Arrival, Fault


@dataclass(frozen=True, slots=True)
class FaultFigures:
    """All faults of one name."""

    name: str
    times: int
    repeats: int
    """Copies put down to them."""
    repeats_max: int
    """What they may explain together."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """The copies, put down to faults."""

    faults: Sequence[FaultFigures]
    unexplained: Sequence[Arrival]
    """Copies that came when no fault had met their row."""


def attribute(evidence: Evidence) -> Repeats:
    """Put each copy down to the latest fault before it that met its row and has room left.

    Room left is a guess where faults overlap, so a copy counts as unexplained only when no fault met its row at all.
    """
    faults = sorted(evidence.history.faults, key=lambda fault: fault.began)
    begins = [fault.began for fault in faults]
    room = [fault.repeats_max for fault in faults]
    taken: Counter[str] = Counter()
    unexplained: list[Arrival] = []
    for copy in sorted(evidence.copies, key=lambda each: each.at):
        before = range(bisect_right(begins, copy.at) - 1, -1, -1)
        met = [index for index in before if _may_repeat(faults[index], copy, evidence)]
        free = next((index for index in met if room[index]), None)
        if not met:
            unexplained.append(copy)
        elif free is not None:
            room[free] -= 1
            taken[faults[free].name] += 1
    return Repeats(_figures(faults, taken), unexplained)


def _may_repeat(fault: Fault, copy: Arrival, evidence: Evidence) -> bool:
    attempt = evidence.attempts.get(copy.message_id)
    return fault.repeats_max > 0 and attempt is not None and touched(fault, attempt)


def _figures(faults: Sequence[Fault], taken: Counter[str]) -> list[FaultFigures]:
    times = Counter(fault.name for fault in faults)
    most: Counter[str] = Counter()
    for fault in faults:
        most[fault.name] += fault.repeats_max
    return [FaultFigures(name, times[name], taken[name], most[name]) for name in sorted(times)]
