"""Looks at everything several times a second and shows it; also the first to notice when a process has ended."""

import asyncio
import signal
import time

from demo.frame import Frame, Moment, Mood, Rate
from demo.processes import Child
from demo.stage import Stage
from demo.view import View
from demo.vitals import Stethoscope, Vitals

EVERY_S = 0.25
BARS = 72
"""As many as fit into the picture."""


class Monitor:
    """What is known now, and the view it is shown in."""

    def __init__(self, stage: Stage, view: View, *, planned_s: float) -> None:
        self._stage = stage
        self._view = view
        self._bar_s = planned_s / BARS
        self._began_at = time.monotonic()
        self._ears = Stethoscope(stage.port)
        self._in = Rate()
        self._out = Rate()
        self._past: list[Moment] = []
        self._heard: Child | None = None
        """The relay that has answered last."""
        self.mood = Mood.GOOD
        self.broker = "up"
        self.happening = ""
        self.deadline: float | None = None
        """When what is happening ends, by the monotonic clock; shown as a countdown."""

    @property
    def elapsed_s(self) -> float:
        """Since the curtain rose."""
        return time.monotonic() - self._began_at

    def begin(self) -> None:
        """Start the clock."""
        self._began_at = time.monotonic()

    def tell(self, event: str, *, happening: str, mood: Mood | None = None, deadline: float | None = None) -> None:
        """Say what happened, and what is going on from here."""
        self._view.tell(self.elapsed_s, event)
        self.happening, self.deadline = happening, deadline
        self.mood = self.mood if mood is None else mood

    async def run(self) -> None:
        """Show frames until cancelled. Raises Broken when a process ended that should run."""
        try:
            while True:
                self._stage.check()
                self._stage.history.read()
                self._view.show(self._frame(await self._ears.look()))
                await asyncio.sleep(EVERY_S)
        finally:
            await self._ears.close()

    def _frame(self, vitals: Vitals | None) -> Frame:
        history = self._stage.history
        now = self.elapsed_s
        backlog = history.waiting if vitals is None else vitals.backlog
        while len(self._past) < now / self._bar_s:
            self._past.append(Moment(backlog, self.mood))
        left = "" if self.deadline is None else f" {max(0.0, self.deadline - time.monotonic()):.0f}s to go."
        return Frame(
            elapsed_s=now,
            rate_in=self._in.at(now, history.committed),
            rate_out=self._out.at(now, len(history.arrivals)),
            backlog=backlog,
            oldest_s=None if vitals is None else vitals.oldest_s,
            relay=self._relay(vitals),
            broker=self.broker,
            committed=history.committed,
            rolled_back=history.rolled_back,
            delivered=history.delivered,
            happening=self.happening + left,
            past=tuple(self._past[-BARS:]),
        )

    def _relay(self, vitals: Vitals | None) -> str:
        """Say in a word how the relay does."""
        relay = self._stage.relay
        if relay is None or not relay.running:
            return "stopped" if relay is not None and relay.ending is signal.SIGTERM else "killed"
        if vitals is not None:
            self._heard = relay
            return "flowing" if vitals.outage is None else f"outage: {vitals.outage}"
        if relay.ending is not None:
            return "stopping"
        return "silent" if relay is self._heard else "starting"
