"""How long nothing arrived although something waited. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from chaos.evidence import Evidence

Span = tuple[float, float]


def longest_stall(evidence: Evidence) -> float:
    """Return the longest time, in seconds, without an arrival while a row waited and no fault that stalls lasted.

    A fault that ends within such a time cuts it in two: what follows it is measured from its end.
    """
    stalls = _merged((fault.began, fault.ended) for fault in evidence.history.faults if fault.stalls)
    came = sorted(
        (first.at, evidence.committed[message_id].at)
        for message_id, first in evidence.firsts.items()
        if message_id in evidence.committed
    )
    # For each arrival, since when the oldest row that had not come before it was waiting.
    oldest = list(accumulate((since for _, since in reversed(came)), min))[::-1]
    moments = sorted(arrival.at for arrival in evidence.history.arrivals)
    longest = 0.0
    for (at, _), since in zip(came, oldest, strict=True):
        position = bisect_left(moments, at)
        began = max(since, moments[position - 1]) if position else since
        longest = max(longest, *(until - start for start, until in _without((began, at), stalls)))
    return longest


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Join spans that overlap."""
    joined: list[Span] = []
    for began, ended in sorted(spans):
        if joined and began <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], ended))
        else:
            joined.append((began, ended))
    return joined


def _without(span: Span, holes: Sequence[Span]) -> list[Span]:
    """Return what is left of a span; at least one piece, which may be empty."""
    start, end = span
    pieces: list[Span] = []
    for began, ended in holes:
        if ended > start and began < end:
            pieces.append((start, max(start, began)))
            start = min(end, ended)
    return [*pieces, (start, end)]
