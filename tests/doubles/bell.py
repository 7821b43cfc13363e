"""A doorbell in memory: what a test commits through it rings while it is held."""

from collections.abc import Callable


class MemoryBell:
    """Fills relay.ports.Waker and keeps its promises."""

    def __init__(self) -> None:
        self.free = True
        """No other relay holds it, and no producer's transaction keeps it from being taken."""
        self.taken = 0
        self.tries = 0
        self.on_take: Callable[[], None] = lambda: None
        """Called when it was taken, before anybody knows."""
        self._ring: Callable[[], None] | None = None

    @property
    def held(self) -> bool:
        """It is in hand."""
        return self._ring is not None

    async def take(self, ring: Callable[[], None]) -> bool:
        """Take it unless somebody has it."""
        self.tries += 1
        if not self.free:
            return False
        self.taken += 1
        self.on_take()
        self._ring = ring
        return True

    async def let_go(self) -> None:
        """Let it go."""
        self._ring = None

    def rings(self) -> None:
        """Ring it, as a commit does."""
        if self._ring is not None:
            self._ring()

    def breaks(self) -> None:
        """Lose it, as with its connection: it rings once more, and is not to be had."""
        ring, self._ring, self.free = self._ring, None, False
        if ring is not None:
            ring()
