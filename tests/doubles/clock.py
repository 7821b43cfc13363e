"""An event loop whose clock jumps to the next timer as soon as nothing else is to be done."""

import asyncio
import selectors

BEGAN_AT = 1000.0
TURN_S = 1e-6
"""What a turn of the loop takes, so that even a task that spins runs into a timeout."""


class Stuck(RuntimeError):
    """Every task waits, and no timer is set: nothing could ever happen again."""


class _Jump(selectors.SelectSelector):
    """Instead of waiting for the timeout, lets it pass."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGAN_AT

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0) if len(self.get_map()) > 1 else []  # the loop's own pipe alone is never worth a look
        self.now += TURN_S
        if not ready:
            if timeout is None:
                raise Stuck
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs a test in no time and always in the same order."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Virtual seconds."""
        return self._jump.now

    def busy(self, seconds: float) -> None:
        """Let time pass in which no task has a turn."""
        self._jump.now += seconds
