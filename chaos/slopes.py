"""Whether a figure rises over a run: a straight line through its samples, and how sure one can be of it. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

WARM_UP_S, WARM_UP_SHARE = 120.0, 1 / 6
"""A process that has just begun grows until it has met everything once: two minutes, of a long run its first sixth."""
SAMPLES_MIN = 30
SURE = 2.0
"""Standard errors: a rise that is not larger than its own uncertainty twice over is noise."""
RISES_MAX: Mapping[str, float] = {
    "rss_mib": 8.0,
    "open_files": 4.0,
    "asyncio_tasks": 4.0,
    "claim_p99_ms": 50.0,
    "dead_rows": 20_000.0,
    "table_mib": 128.0,
}
"""How much a figure may rise over the whole run. Rows with a bad end stay in the table, so that grows by these."""

Point = tuple[float, float]
"""Seconds, and the figure."""


@dataclass(frozen=True, slots=True)
class Slope:
    """One figure of one process, or of the table."""

    series: str
    figure: str
    samples: int
    lasted_s: float
    """Without the warm-up."""
    median: float
    rise: float
    """Of the straight line, from the first sample to the last."""
    doubt: float
    """Standard error of the rise."""

    @property
    def rises(self) -> bool:
        """Whether it surely rises by more than it may."""
        return self.rise - SURE * self.doubt > RISES_MAX[self.figure]

    @property
    def word(self) -> str:
        """Say it in a word."""
        return "rises" if self.rises else "level"


def slope(series: str, figure: str, points: Sequence[Point]) -> Slope | None:
    """Lay a least-squares line through the samples after the warm-up; None when there are too few of them."""
    if not points:
        return None
    warm_s = max(WARM_UP_S, (points[-1][0] - points[0][0]) * WARM_UP_SHARE)
    kept = [point for point in points if point[0] - points[0][0] >= warm_s]
    if len(kept) < SAMPLES_MIN:
        return None
    times, values = zip(*kept, strict=True)
    count, middle, mean = len(kept), sum(times) / len(kept), sum(values) / len(kept)
    spread = sum((time - middle) ** 2 for time in times)
    steep = sum((time - middle) * (value - mean) for time, value in kept) / spread
    error = sum((value - mean - steep * (time - middle)) ** 2 for time, value in kept)
    lasted_s = times[-1] - times[0]
    return Slope(
        series,
        figure,
        count,
        lasted_s,
        median=sorted(values)[count // 2],
        rise=steep * lasted_s,
        doubt=math.sqrt(error / (count - 2) / spread) * lasted_s,
    )


def table(found: Sequence[Slope]) -> Iterator[str]:
    """Write them for a terminal."""
    if found:
        yield f"  {'over the run':<26}{'figure':<16}{'minutes':>8}{'median':>12}{'rise':>10}{'±':>8}{'at most':>10}"
    for each in found:
        yield (
            f"  {each.series:<26}{each.figure:<16}{each.lasted_s / 60:>8.0f}{each.median:>12,.1f}{each.rise:>+10,.1f}"
            f"{SURE * each.doubt:>8,.1f}{RISES_MAX[each.figure]:>10,.0f}  {each.word}"
        )


def rising(found: Sequence[Slope]) -> list[str]:
    """Say in sentences which figures rise."""
    return [
        f"{each.figure} of {each.series} rose by {each.rise:,.1f} in {each.lasted_s / 60:.0f} minutes."
        for each in found
        if each.rises
    ]


def as_facts(found: Sequence[Slope]) -> list[dict[str, Any]]:
    """Return them for JSON, each with its bound and its word."""
    return [asdict(each) | {"rise_max": RISES_MAX[each.figure], "word": each.word} for each in found]


def p99(before: Mapping[float, float], after: Mapping[float, float]) -> float | None:
    """Return an upper bound of the 99th percentile of what was counted between two looks at a histogram's buckets."""
    counted = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    total = counted.get(math.inf, 0.0)
    if total <= 0:
        return None
    return next(bound for bound, count in counted.items() if count >= 0.99 * total)
