"""The last hour of the backlog, point by point, for the page and `relay top`. Bounded however often it is sampled."""

from dataclasses import dataclass, replace
from typing import Any

from relay.model import Backlog
from relay.observe.side import iso

HOUR_S = 3600.0
POINTS_MAX = 420
"""An hour of samples 10 s apart, and some room for their jitter. With more, every two become one."""
SLACK = 0.85
"""Samples come up to a tenth early; one that comes earlier than this part of the spacing joins the one before."""


@dataclass(frozen=True, slots=True)
class Point:
    """A sample; the counts only grow, so the rates of a point are its difference to the one before."""

    at: float
    """Local monotonic time."""
    oldest_age_s: float
    """The highest, where several samples have become one: a peak is not to be thinned out."""
    pending: int
    inserted: int
    confirmed: int
    outage: str | None
    """The side that was gone at some time since the point before."""


class History:
    """Keeps the points of an hour; the longer it runs on quick samples, the further apart they are."""

    def __init__(self, sample_s: float) -> None:
        self._every_s = sample_s
        self._points: list[Point] = []
        self._outage: str | None = None

    def missed(self, side: str) -> None:
        """Know that a server is gone, or was since the last sample."""
        self._outage = side

    def sampled(self, backlog: Backlog, *, confirmed: int, at: float) -> None:
        """Take a sample, with how many rows this relay has confirmed up to now."""
        point = Point(at, backlog.oldest_age_s, backlog.pending, backlog.inserted, confirmed, self._outage)
        self._outage = None
        if len(self._points) > 1 and self._points[-1].at - self._points[-2].at < self._every_s * SLACK:
            point = _joined(self._points.pop(), point)
        self._points.append(point)
        while self._points[0].at < at - HOUR_S - self._every_s:
            del self._points[0]
        if len(self._points) > POINTS_MAX:
            self._thin()

    def _thin(self) -> None:
        """Make one of every two points, and let the next come half as often."""
        points = self._points
        pairs = [_joined(*pair) for pair in zip(points[1::2], points[2::2], strict=False)]
        self._points = [points[0], *pairs, *points[2 * len(pairs) + 1 :]]
        self._every_s *= 2

    def told(self, *, now: float, wall: float) -> dict[str, Any]:
        """Return it as JSON, the oldest first; the moments are of the clock on the wall as it goes now."""
        began = wall - now
        pairs = zip([None, *self._points], self._points, strict=False)
        points = [_told(before, point, at=iso(began + point.at)) for before, point in pairs]
        return {"every_seconds": self._every_s, "points": points}


def _joined(first: Point, second: Point) -> Point:
    age_s = max(first.oldest_age_s, second.oldest_age_s)
    return replace(second, oldest_age_s=age_s, outage=second.outage or first.outage)


def _told(before: Point | None, point: Point, *, at: str) -> dict[str, Any]:
    return {
        "at": at,
        "oldest_pending_age_seconds": round(point.oldest_age_s, 3),
        "pending": point.pending,
        "in_per_second": None if before is None else _rate(before.inserted, point.inserted, point.at - before.at),
        "out_per_second": None if before is None else _rate(before.confirmed, point.confirmed, point.at - before.at),
        "outage": point.outage,
    }


def _rate(before: int, after: int, seconds: float) -> float | None:
    """Return counts a second; None when Postgres has begun to count anew."""
    return round((after - before) / seconds, 2) if seconds > 0 and after >= before else None
