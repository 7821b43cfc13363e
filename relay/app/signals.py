"""The end of a run: the first signal lets the engine finish, the second or the end of the grace stops it now."""

import asyncio
import os
import signal
from collections.abc import Callable

from relay.engine import Engine

DONE, FAILED = 0, 1
RELEASE_S = 5.0
"""Kept of the grace for giving back what could not be finished; of a shorter grace than twice that, half of it."""

Tell = Callable[..., None]


async def supervise(engine: Engine, beside: asyncio.Task[None], tell: Tell, *, grace_s: float, drain: bool) -> int:
    """Run the engine to its end and return the exit code: 1 when a second signal cut it short, else 0.

    `beside` runs for as long as the engine does. Raises what either of them raises: that is a fault of ours.
    """
    running = asyncio.create_task(engine.run(drain=drain), name="engine")
    stop = _Stop(engine, running, tell, grace_s)
    for number in (signal.SIGTERM, signal.SIGINT):  # until the loop is closed: closing is a part of the grace
        asyncio.get_running_loop().add_signal_handler(number, stop.signal, number)
    await asyncio.wait({running, beside}, return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        running.cancel()
        await asyncio.wait({running})
        beside.result()
    if not running.cancelled():
        running.result()
    return FAILED if stop.forced else DONE


class _Stop:
    """Counts the signals; when patience ends it cancels the engine, and when the grace ends the process."""

    def __init__(self, engine: Engine, running: asyncio.Task[None], tell: Tell, grace_s: float) -> None:
        self._engine = engine
        self._running = running
        self._tell = tell
        self._release_s = min(RELEASE_S, grace_s / 2)
        self._patience_s = grace_s - self._release_s
        self._stopping = self._hurried = False
        self.forced = False

    def signal(self, number: int) -> None:
        """Take a signal."""
        name = signal.Signals(number).name
        if not self._stopping:
            self._stopping = True
            self._tell("relay.stopping", signal=name, patience_s=self._patience_s)
            asyncio.get_running_loop().call_later(self._patience_s, self._hurry, "the grace ran out")
            self._engine.stop()
        else:
            self.forced = True
            self._hurry(f"a second signal, {name}")

    def _hurry(self, why: str) -> None:
        if self._hurried:
            return
        self._hurried = True
        self._tell("relay.hurried", why=why)
        self._running.cancel()
        asyncio.get_running_loop().call_later(self._release_s, self._leave)

    def _leave(self) -> None:
        """End the process: a server that swallows every word would hold it until somebody kills it."""
        self._tell("relay.gave_up")
        os._exit(FAILED)
