"""One picture of the demo, and what counts the rates in it; pure data."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

WINDOW_S = 1.5
"""Rates are counted over this long: short enough to see a fault at once."""


class Mood(Enum):
    """What was wrong at a moment; it colours the picture."""

    GOOD = auto()
    NO_BROKER = auto()
    NO_RELAY = auto()


@dataclass(frozen=True, slots=True)
class Moment:
    """A bar of the backlog's picture."""

    backlog: int
    mood: Mood


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything a view shows."""

    elapsed_s: float
    rate_in: float
    """Orders committed a second."""
    rate_out: float
    """Messages received a second."""
    backlog: int
    """Pending rows by the relay's metrics; while it does not answer, what is committed and not received."""
    oldest_s: float | None
    """Age of the oldest pending row, by the relay's metrics; None when it does not answer."""
    relay: str
    broker: str
    committed: int
    rolled_back: int
    delivered: int
    happening: str
    past: Sequence[Moment]

    @property
    def mood(self) -> Mood:
        """The mood now."""
        return self.past[-1].mood if self.past else Mood.GOOD


class Rate:
    """Turns a growing count into a rate a second."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, now: float, count: int) -> float:
        """Take the count and return the rate over the last moments."""
        self._seen.append((now, count))
        while self._seen[0][0] < now - WINDOW_S:
            self._seen.popleft()
        then, before = self._seen[0]
        return (count - before) / (now - then) if now > then else 0.0


def clock(seconds: float) -> str:
    """Write 75.3 as 01:15."""
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
