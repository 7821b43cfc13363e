"""An observer that remembers, and that can be waited for."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from relay.model import Fault, TickReport
from relay.outage import State


class RecordingObserver:
    """Keeps everything it is told, and sums up what must add up."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.reports: list[TickReport] = []
        self.changes: list[tuple[str, State, State]] = []
        self.overtaken: list[int] = []
        self.unsettled_marks: list[tuple[int, Fault]] = []
        self.in_hand = 0
        self.in_hand_max = 0
        self.turned_at: list[float] = []
        self._heard: Counter[str] = Counter()
        self._news = asyncio.Event()

    async def seen(self, event: str, times: int = 1) -> None:
        """Wait until the event was told so often: `tick`, `turn`, `lease_lost`, `unsettled`, or as `broker Outage`."""
        while self._heard[event] < times:
            self._news.clear()
            await self._news.wait()

    def path(self, side: str) -> list[str]:
        """The states one side went through, by name."""
        return [type(after).__name__ for told, _, after in self.changes if told == side]

    def total(self, outcome: str) -> int:
        """Rows that came to that outcome."""
        return sum(report.outcomes.get(outcome, 0) for report in self.reports)

    def _hear(self, event: str) -> None:
        self._heard[event] += 1
        self._news.set()

    def in_flight(self, change: int) -> None:
        """Count the rows in hand."""
        self.in_hand += change
        self.in_hand_max = max(self.in_hand, self.in_hand_max)
        assert self.in_hand >= 0

    def ticked(self, report: TickReport) -> None:
        """Keep the report, which must add up."""
        assert report.claimed == sum(report.outcomes.values())
        self.reports.append(report)
        self._hear("tick")

    def turned(self) -> None:
        """Keep when."""
        self.turned_at.append(self._now())
        self._hear("turn")

    def lease_lost(self, row_ids: Sequence[int]) -> None:
        """Keep which."""
        self.overtaken.extend(row_ids)
        self._hear("lease_lost")

    def unsettled(self, marks: int, fault: Fault) -> None:
        """Keep how many."""
        self.unsettled_marks.append((marks, fault))
        self._hear("unsettled")

    def state_changed(self, side: str, before: State, after: State) -> None:
        """Keep the change, which must be one, and follow the last."""
        last = next((state for told, _, state in reversed(self.changes) if told == side), before)
        assert before == last
        assert before != after
        self.changes.append((side, before, after))
        self._hear(f"{side} {type(after).__name__}")
