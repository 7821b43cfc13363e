"""A broker that does what a test says: one connection that all flights share, a channel for each flight."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import replace
from enum import Enum, auto

from relay.model import Answer, Confirmed, Envelope, Fault, Outcome, Refusal, Refused, Unknown, Unreachable

FLUSH_S = 0.05


GONE = Unreachable(Fault.LOST, "the connection ended", written=True)


class Fate(Enum):
    """What the broker does when it comes to a row, if it neither confirms nor refuses it."""

    SILENCE = auto()
    """It takes the message and never says so."""
    CLOSE_CHANNEL = auto()
    """It closes the channel because of it; what was written behind it does not arrive."""
    CLOSE_CONNECTION = auto()
    """It closes the connection because of it, and says that it was because of a message."""
    LOSE_CONNECTION = auto()
    """The connection breaks there, for no reason of the row's."""


class _Flight:
    """One publish: what was written and not answered yet."""

    def __init__(self, row_ids: Iterable[int], doubted: set[int]) -> None:
        self._doubted = doubted
        self.waiting = dict.fromkeys(row_ids)
        self.lone = len(self.waiting) == 1
        self.fresh: list[Answer] = []
        self.news = asyncio.Event()

    def answer(self, row_id: int, outcome: Outcome) -> None:
        if row_id in self.waiting:
            del self.waiting[row_id]
            if isinstance(outcome, Unknown | Unreachable):
                self._doubted.add(row_id)
            self.fresh.append(Answer(row_id, outcome))
            self.news.set()

    def answer_all(self, outcome: Outcome) -> None:
        for row_id in tuple(self.waiting):
            self.answer(row_id, outcome)


class ScriptedPublisher:
    """Fills relay.ports.Publisher; what is not scripted is confirmed."""

    def __init__(self, now: Callable[[], float], *, confirm_s: float = 0.0, confirm_timeout_s: float = 30.0) -> None:
        self._now = now
        self.confirm_s = confirm_s
        self._confirm_timeout_s = confirm_timeout_s
        self.always: dict[int, Fate | Refused] = {}
        """The fate of a row, each time."""
        self.next: defaultdict[int, deque[Fate | Refused]] = defaultdict(deque)
        """The fates of a row, one for each time."""
        self.down: Fault | None = None
        """Why no connection can be had; None when all is well.

        BLOCKED is told only to who publishes, and what was written may arrive: a new connection proves nothing.
        """
        self.holding = False
        """Messages arrive, but no confirm is sent until `let_go`."""
        self.published: list[list[int]] = []
        """Every publish, by the rows it wrote."""
        self.published_at: list[float] = []
        self.arrived: Counter[int] = Counter()
        """How often each row's message reached a queue."""
        self.doubted: set[int] = set()
        """Rows that were once written and never confirmed or refused."""
        self.asked_at: list[float] = []
        """When a connection was asked for."""
        self.beside: list[tuple[int, int]] = []
        """For each publish, how many messages it wrote and how many of other publishes were in flight."""
        self.forgets: set[int] = set()
        """Rows it breaks its promise to and never answers."""
        self.extra: list[Answer] = []
        """Answers it gives on top, which it must not."""
        self.unknown_alone = False
        """It calls a closed channel unknown, even with one message in flight."""
        self._flights: list[_Flight] = []
        self.on_ready: Callable[[], None] = lambda: None
        """Called before a connection is found to be there, or not."""
        self.on_publish: Callable[[Sequence[Envelope]], None] = lambda _: None
        """Called before anything is written."""

    # -- what a test does ---------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Messages written and not answered."""
        return sum(len(flight.waiting) for flight in self._flights)

    def lose(self, fault: Fault = Fault.LOST) -> None:
        """Break the connection now; it can be opened again unless `down`."""
        for flight in tuple(self._flights):
            flight.answer_all(replace(GONE, fault=fault))

    def fall(self, fault: Fault = Fault.REFUSED) -> None:
        """Go down and stay down; why is learned by who connects anew, but that it blocks is told at once."""
        self.down = fault
        self.lose(Fault.BLOCKED if fault is Fault.BLOCKED else Fault.LOST)

    def close_channels(self) -> None:
        """Close every channel now, as for a message that nobody can name."""
        for flight in tuple(self._flights):
            flight.answer_all(Unknown("closed with others in flight"))

    def let_go(self) -> None:
        """Confirm whatever is held back, and hold no more."""
        self.holding = False
        for flight in tuple(self._flights):
            flight.answer_all(Confirmed())

    def rows(self) -> list[int]:
        """Every row published, in order, as often as it was."""
        return [row_id for rows in self.published for row_id in rows]

    # -- what the relay does ------------------------------------------------------------------------------------

    async def ready(self) -> Unreachable | None:
        """Open a connection, if there is one to be had."""
        self.asked_at.append(self._now())
        await asyncio.sleep(0)
        self.on_ready()
        return self._gone()

    def _gone(self) -> Unreachable | None:
        if self.down in {None, Fault.BLOCKED}:
            return None
        return Unreachable(self.down, f"no connection: {self.down}", written=False)

    async def publish(self, envelopes: Sequence[Envelope]) -> AsyncGenerator[Sequence[Answer], None]:
        """Write everything at once and answer as the script says."""
        if len({envelope.row_id for envelope in envelopes}) != len(envelopes):
            raise AssertionError("a row is twice in one batch")
        self.on_publish(envelopes)
        if (gone := self._gone()) is not None:
            yield [Answer(envelope.row_id, gone) for envelope in envelopes]
            return
        self.beside.append((len(envelopes), self.in_flight))
        self.published.append([envelope.row_id for envelope in envelopes])
        self.published_at.append(self._now())
        flight = _Flight((envelope.row_id for envelope in envelopes), self.doubted)
        self._flights.append(flight)
        try:
            if self.down is Fault.BLOCKED:
                self.arrived.update(self.published[-1])
                self.lose(Fault.BLOCKED)
            self._write(flight, self.published[-1])
            for row_id in self.forgets:
                flight.waiting.pop(row_id, None)
            async for answers in self._answers(flight):
                yield answers
            yield self.extra
        finally:
            self._flights.remove(flight)

    async def _answers(self, flight: _Flight) -> AsyncGenerator[Sequence[Answer], None]:
        heard_at = self._now()
        while flight.waiting or flight.fresh:
            flight.news.clear()
            fresh, flight.fresh = flight.fresh, []
            yield fresh
            if fresh:
                heard_at = self._now()
                continue
            try:
                async with asyncio.timeout(FLUSH_S):
                    await flight.news.wait()
            except TimeoutError:
                if self._now() >= heard_at + self._confirm_timeout_s:
                    self.lose(Fault.TIMEOUT)

    # -- the broker ---------------------------------------------------------------------------------------------

    def _write(self, flight: _Flight, row_ids: Sequence[int]) -> None:
        for row_id in row_ids:
            if row_id not in flight.waiting:  # the channel is gone, and it with it
                return
            if row_id in self.forgets:
                continue
            match self._fate(row_id):
                case Refused() as refused:
                    flight.answer(row_id, refused)
                case Fate.CLOSE_CHANNEL:
                    self._close([flight], alone=len(flight.waiting) == 1)
                case Fate.CLOSE_CONNECTION:
                    self._close(self._flights, alone=flight.lone and len(self._flights) == 1)
                case Fate.LOSE_CONNECTION:
                    self.lose()
                case Fate.SILENCE:
                    self.arrived[row_id] += 1
                case None:
                    self._confirm(flight, row_id)

    def _fate(self, row_id: int) -> Fate | Refused | None:
        return self.next[row_id].popleft() if self.next[row_id] else self.always.get(row_id)

    def _confirm(self, flight: _Flight, row_id: int) -> None:
        self.arrived[row_id] += 1
        if self.holding:
            return
        if self.confirm_s:
            asyncio.get_running_loop().call_later(self.confirm_s, flight.answer, row_id, Confirmed())
        else:
            flight.answer(row_id, Confirmed())

    def _close(self, flights: Iterable[_Flight], *, alone: bool) -> None:
        blamed = alone and not self.unknown_alone
        for flight in tuple(flights):
            flight.answer_all(Refused(Refusal.BLAMED, "closed") if blamed else Unknown("closed with others in flight"))
