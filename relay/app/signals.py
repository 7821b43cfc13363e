"""The end of a run: the first signal lets the engine finish, the second or the end of the grace stops it now."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from relay.engine import Engine

DONE, FAILED = 0, 1
RELEASE_S = 5.0
"""Kept of the grace for giving back what could not be finished."""

Tell = Callable[..., None]


async def supervise(engine: Engine, beside: asyncio.Task[None], tell: Tell, *, grace_s: float, drain: bool) -> int:
    """Run the engine to its end and return the exit code: 1 when a second signal cut it short, else 0.

    `beside` runs for as long as the engine does. Raises what either of them raises: that is a fault of ours.
    """
    running = asyncio.create_task(engine.run(drain=drain), name="engine")
    stop = _Stop(engine, running, tell, max(grace_s - RELEASE_S, grace_s / 2))
    with _signals(stop.signal):
        await asyncio.wait({running, beside}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
            beside.result()
        stop.disarm()
    if not running.cancelled():
        running.result()
    return FAILED if stop.forced else DONE


class _Stop:
    """Counts the signals, and cancels the engine when patience ends."""

    def __init__(self, engine: Engine, running: asyncio.Task[None], tell: Tell, patience_s: float) -> None:
        self._engine = engine
        self._running = running
        self._tell = tell
        self._patience_s = patience_s
        self._timer: asyncio.TimerHandle | None = None
        self.forced = False

    def signal(self, number: int) -> None:
        """Take a signal."""
        name = signal.Signals(number).name
        if self._timer is None:
            self._tell("relay.stopping", signal=name, patience_s=self._patience_s)
            self._timer = asyncio.get_running_loop().call_later(self._patience_s, self._hurry, "the grace ran out")
            self._engine.stop()
        elif not self.forced:
            self.forced = True
            self._hurry(f"a second signal, {name}")

    def _hurry(self, why: str) -> None:
        self._tell("relay.hurried", why=why)
        self._running.cancel()

    def disarm(self) -> None:
        """Forget the timer: the engine has ended."""
        if self._timer is not None:
            self._timer.cancel()


@contextmanager
def _signals(take: Callable[[int], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, take, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
