"""When to hold the doorbell: while few rows come. Under load nobody holds it, and producers pay nothing.

Rows that come slowly may come from many producers who wait for each other, because they ring. So in a steady flow the
bell is let go now and then for a moment: where producers overlap it is not to be had again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from relay.ports import Waker

CALM_RATE = 600.0
"""Rows a second below which the bell is taken."""
BUSY_RATE = 1000.0
"""Rows a second above which it is let go: their producers would ring as often, one commit after the other."""
STEADY_RATE = 50.0
"""Rows a second above which the bell is let go now and then: commits to a slow disk, one by one, may be no faster."""
HOLD_S = 5.0
PAUSE_S = 0.1
"""So long it is left alone then: producers who waited begin new transactions, and show how fast they are."""
WINDOW_S = 0.1


@dataclass(frozen=True, slots=True)
class Tempo:
    """How fast rows come."""

    began: float = float("-inf")
    rows: int = 0
    """Since then."""
    rate: float = 0.0
    """Rows a second in the window before."""


def came(tempo: Tempo, rows: int, now: float) -> Tempo:
    """Take the rows of one claim."""
    if now - tempo.began < WINDOW_S:
        return replace(tempo, rows=tempo.rows + rows)
    return Tempo(now, 0, (tempo.rows + rows) / (now - tempo.began))


class Silent:
    """Fills relay.ports.Waker where there is no doorbell."""

    held = False

    async def take(self, ring: Callable[[], None]) -> bool:  # noqa: ARG002 -- nobody rings
        """Return that it cannot be had."""
        return False

    async def let_go(self) -> None:
        """Do nothing."""


class Bell:
    """The doorbell in the engine's hand."""

    def __init__(self, waker: Waker, ring: Callable[[], None], now: Callable[[], float]) -> None:
        self._waker = waker
        self._ring = ring
        self._now = now
        self._tempo = Tempo()
        self._taken_at = self._paused_until = float("-inf")

    @property
    def held(self) -> bool:
        """It rings when a row comes."""
        return self._waker.held

    def came(self, rows: int) -> None:
        """Note the rows of one claim."""
        self._tempo = came(self._tempo, rows, self._now())

    async def keep(self) -> bool:
        """Return whether it is in hand still; under load it is let go, and in a steady flow now and then."""
        now = self._now()
        limit = STEADY_RATE if now - self._taken_at > HOLD_S else BUSY_RATE
        if self._waker.held and self._tempo.rate > limit:
            await self._waker.let_go()
            self._tempo, self._paused_until = Tempo(now), now + PAUSE_S
        return self._waker.held

    async def take(self) -> bool:
        """Take it if few rows come and nobody else holds it."""
        now = self._now()
        if now < self._paused_until or self._tempo.rate > CALM_RATE or not await self._waker.take(self._ring):
            return False
        self._taken_at = now
        return True

    async def let_go(self) -> None:
        """Leave it to other relays, and to producers."""
        if self._waker.held:
            await self._waker.let_go()
