"""Which fault each of the relay's copies may be put down to. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
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
    most: int
    """Of those, the most that were put down to a single one."""
    repeats_max: int
    """What they may explain together."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """The copies, put down to faults."""

    faults: Sequence[FaultFigures]
    unexplained: Sequence[Arrival]
    """Copies that came when no fault had met their row."""


def attribute(evidence: Evidence) -> Repeats:
    """Put each copy down to that fault, of those with room left, which was nearest to the delivery it repeats.

    Where faults overlap this is a guess; a copy is unexplained only when no fault can have met its row at all.
    """
    faults = evidence.history.faults
    taken = [0] * len(faults)
    unexplained: list[Arrival] = []
    for copy, before in _with_the_one_before(evidence):
        met = [index for index, fault in enumerate(faults) if _may_repeat(fault, copy, evidence)]
        free = [index for index in met if taken[index] < faults[index].repeats_max]
        if not met:
            unexplained.append(copy)
        elif free:
            taken[min(free, key=lambda index: _distance_s(faults[index], before.at))] += 1
    return Repeats(_figures(faults, taken), unexplained)


def _with_the_one_before(evidence: Evidence) -> Iterator[tuple[Arrival, Arrival]]:
    copies, latest = {copy.position for copy in evidence.copies}, dict[str, Arrival]()
    for arrival in evidence.history.arrivals:
        if arrival.position in copies:
            yield arrival, latest[arrival.message_id]
        latest[arrival.message_id] = arrival


def _may_repeat(fault: Fault, copy: Arrival, evidence: Evidence) -> bool:
    attempt = evidence.attempts.get(copy.message_id)
    return fault.repeats_max > 0 and attempt is not None and fault.began <= copy.at and touched(fault, attempt)


def _distance_s(fault: Fault, at: float) -> float:
    return max(fault.began - at, at - fault.ended, 0.0)


def _figures(faults: Sequence[Fault], taken: Sequence[int]) -> list[FaultFigures]:
    times: Counter[str] = Counter()
    repeats: Counter[str] = Counter()
    repeats_max: Counter[str] = Counter()
    most: dict[str, int] = {}
    for fault, count in zip(faults, taken, strict=True):
        times[fault.name] += 1
        repeats[fault.name] += count
        repeats_max[fault.name] += fault.repeats_max
        most[fault.name] = max(most.get(fault.name, 0), count)
    return [FaultFigures(name, times[name], repeats[name], most[name], repeats_max[name]) for name in sorted(times)]
