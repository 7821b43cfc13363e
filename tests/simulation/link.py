"""A relay's connection to the simulated broker, and its channels. An end means what the relay itself reads in it."""

import asyncio
import math
from collections.abc import Callable

from relay.broker.classify import End, channel_closed, connection_ended, judge
from relay.model import Answer, Confirmed, Outcome, Refusal, Refused

CONFIRMED = Confirmed()
NACKED = Refused(Refusal.REJECTED, "nack")
UNROUTABLE = Refused(Refusal.UNROUTABLE, "312 NO_ROUTE")


class Link:
    """One connection; when it has ended it is never used again."""

    def __init__(self, ghost_s: Callable[[], float]) -> None:
        self.loop = asyncio.get_running_loop()
        self.end: End | None = None
        self.closed = False
        """The broker closed it, and looks at nothing more of it."""
        self.cut_at = math.inf
        """What is on its way to the broker arrives until then."""
        self.back_at = 0.0
        """When the broker's latest word arrives."""
        self.arrives_at = 0.0
        """When the latest message arrives at the broker."""
        self.published = False
        self.frozen = False
        """The relay's process does not run, and hears nothing for now."""
        self.channels: list[Channel] = []
        self._inbox: list[Callable[[], object]] = []
        self._ghost_s = ghost_s

    def hear(self, words: Callable[[], object]) -> None:
        """Take what the broker says, now or when the process runs again."""
        if self.frozen:
            self._inbox.append(words)
        elif self.end is None:
            words()

    def thaw(self) -> None:
        """Hear what was said in the meantime."""
        self.frozen = False
        inbox, self._inbox = self._inbox, []
        for words in inbox:
            self.hear(words)

    def hear_end(self, error: BaseException | None) -> None:
        """The connection ended, for a reason as the library tells it."""
        self.cut_at = min(self.cut_at, self.loop.time() + self._ghost_s())

        def end() -> None:
            busy = [channel for channel in self.channels if channel.waiting]
            self.finish(connection_ended(error, alone=len(busy) == 1 and busy[0].lone and not busy[0].heard))

        self.hear(end)

    def finish(self, end: End) -> None:
        """Note the end; the first one is the true one."""
        if self.end is None:
            self.end = end
            self.cut_at = min(self.cut_at, self.loop.time() + self._ghost_s())
            for channel in tuple(self.channels):
                channel.finish(end)


class Channel:
    """One publish: what was written and not answered yet."""

    def __init__(self, link: Link, *, lone: bool) -> None:
        self.link = link
        self.lone = lone
        self.end: End | None = None
        self.closed = False
        """The broker closed it, and throws away what follows."""
        self.unsaid: dict[int, str] = {}
        """What the broker will say of which tag."""
        self.waiting: dict[int, int] = {}
        """Rows by their tags: written, and not answered."""
        self.heard = False
        self.heard_at = link.loop.time()
        self._returned: set[int] = set()
        self._fresh: list[Answer] = []
        self._waiter: asyncio.Future[None] | None = None
        link.channels.append(self)

    def hear(self, word: str, tag: int, *, multiple: bool) -> None:
        """An ack or a nack."""
        self.heard, self.heard_at = True, self.link.loop.time()
        for each in [each for each in self.waiting if each <= tag] if multiple else [tag]:
            row_id = self.waiting.pop(each, None)
            if row_id is not None:  # else the publish was given up
                self._answer(
                    row_id, UNROUTABLE if row_id in self._returned else NACKED if word == "nack" else CONFIRMED
                )

    def hear_return(self, row_id: int) -> None:
        """No queue takes the message; its ack follows."""
        self._returned.add(row_id)

    def hear_close(self, code: int, text: str) -> None:
        """The broker closed the channel because of some message on it."""
        self.finish(channel_closed(code, text, in_flight=len(self.waiting)))

    def finish(self, end: End) -> None:
        """End, and with it all that waits."""
        if self.end is None:
            self.end = end
            outcome = judge(end)
            for row_id in self.waiting.values():
                self._answer(row_id, outcome)
            self.waiting.clear()
            self._wake()

    def _answer(self, row_id: int, outcome: Outcome) -> None:
        self._fresh.append(Answer(row_id, outcome))
        self._wake()

    def take(self) -> list[Answer]:
        """The answers that came since."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def news(self, seconds: float) -> None:
        """Wait for an answer or the end, at most so long."""
        if self._fresh or self.end is not None:
            return
        self._waiter = self.link.loop.create_future()
        timer = self.link.loop.call_later(seconds, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None
