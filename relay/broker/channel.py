"""A channel in confirm mode that resolves whole batches: a delivery tag stands for a row, and no future is made.

The connection's reader hands every frame of a channel to `frames.put`. Here that call resolves confirms and returns
on the spot, in the order in which the broker sent them: nothing waits in a queue that an end could throw away, and an
ack can never overtake the return before it. Returns are attributed by the x-outbox-id header; the library attributes
them by message_id, and two rows may share one.
"""

import asyncio
from collections.abc import Callable, Sequence

from aiormq.abc import AbstractConnection, FrameType
from aiormq.channel import Channel
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from relay.broker.classify import End, Loss, channel_closed, judge, reply
from relay.envelope import ID_HEADER
from relay.model import Answer, Confirmed, Fault, Outcome, Refusal, Refused

CONFIRMED = Confirmed()
REJECTED = Refused(Refusal.REJECTED, "the broker sent a nack: a queue is full and rejects, or could not store it")


class _Frames(asyncio.Queue[tuple[int, FrameType]]):
    """The way of a channel's frames; those that `hear` takes never enter the queue."""

    def __init__(self, hear: Callable[[FrameType], bool]) -> None:
        super().__init__()
        self._hear = hear

    async def put(self, item: tuple[int, FrameType]) -> None:
        if not self._hear(item[1]):
            self.put_nowait(item)


class ConfirmChannel(Channel):
    """Publishes for one caller at a time; after its `end` nothing may be written to it."""

    def __init__(self, connection: AbstractConnection, number: int, *, broken: Callable[[Loss], None]) -> None:
        super().__init__(connection, number)
        self.frames = _Frames(self._hear)
        self.end: End | None = None
        self.heard_at = self.loop.time()
        """Event loop's clock, seconds: the last confirm."""
        self._broken = broken
        self._tag = 0
        self._confirmed_up_to = 0
        self._pending: dict[int, int] = {}
        self._returning: spec.Basic.Return | None = None
        self._returned: dict[int, str] = {}
        self._answers: list[Answer] = []
        self._waiter: asyncio.Future[None] | None = None

    @property
    def in_flight(self) -> int:
        """Messages written and not yet confirmed, refused or ended."""
        return len(self._pending)

    def expect(self, row_ids: Sequence[int]) -> None:
        """Number the messages that are written next, in this order."""
        first, self._tag = self._tag + 1, self._tag + len(row_ids)
        self._pending.update(zip(range(first, self._tag + 1), row_ids, strict=True))

    def take(self) -> list[Answer]:
        """Return the answers that came since the last call; at the end, of everything that was in flight."""
        answers, self._answers = self._answers, []
        if self.end is not None and self._pending:
            outcome = judge(self.end)
            answers += [Answer(row_id, outcome) for row_id in self._pending.values()]
            self._pending.clear()
        return answers

    async def settled(self, seconds: float) -> None:
        """Wait until nothing is in flight or the channel has ended, at most so long."""
        if not self._pending or self.end is not None:
            return
        self._waiter = waiter = self.loop.create_future()
        timer = self.loop.call_later(seconds, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def finish(self, end: End) -> None:
        """Note the end; the first one is the true one."""
        if self.end is None:
            self.end = end
            _wake(self._waiter)

    def _hear(self, frame: FrameType) -> bool:
        """Take a frame if it is about a publish; leave the others to the library. After the end it changes nothing."""
        match frame:
            case spec.Basic.Ack() | spec.Basic.Nack() | spec.Basic.Return() | ContentHeader() if self.end is not None:
                pass
            case spec.Basic.Ack():
                self._resolve(frame.delivery_tag, CONFIRMED, multiple=frame.multiple)
            case spec.Basic.Nack():
                self._resolve(frame.delivery_tag, REJECTED, multiple=frame.multiple)
            case spec.Basic.Return():
                self._returning = frame
            case ContentHeader():
                self._return(frame)
            case ContentBody():
                pass  # a returned message's payload: the row still has it
            case spec.Channel.Close():
                # Noted before the library answers with CloseOk: what is written after that would cost the connection.
                self.finish(channel_closed(frame.reply_code, frame.reply_text, in_flight=self.in_flight))
                return False
            case _:
                return False
        return True

    def _return(self, header: ContentHeader) -> None:
        row_id = (header.properties.headers or {}).get(ID_HEADER)
        if self._returning is None or not isinstance(row_id, int):
            self._broken(Loss(Fault.OTHER, f"the broker returned a message without {ID_HEADER}"))
            return
        self._returned[row_id] = reply(self._returning.reply_code, self._returning.reply_text)
        self._returning = None

    def _resolve(self, tag: int, outcome: Outcome, *, multiple: bool) -> None:
        """Resolve one tag, or all up to it; 0 means all. A tag that is not in flight breaks the connection."""
        self.heard_at = self.loop.time()
        tag = tag or self._tag
        if tag > self._tag or (not multiple and tag not in self._pending):
            self._broken(Loss(Fault.OTHER, "the broker confirmed a message that was not in flight"))
            return
        if multiple:
            rows = [self._pending.pop(each, None) for each in range(self._confirmed_up_to + 1, tag + 1)]
            self._confirmed_up_to = max(self._confirmed_up_to, tag)
        else:
            rows = [self._pending.pop(tag)]
        if self._returned:
            self._answers += [Answer(row, self._or_unroutable(row, outcome)) for row in rows if row is not None]
        else:
            self._answers += [Answer(row, outcome) for row in rows if row is not None]
        if not self._pending:
            _wake(self._waiter)

    def _or_unroutable(self, row_id: int, outcome: Outcome) -> Outcome:
        text = self._returned.pop(row_id, None)
        return outcome if text is None else Refused(Refusal.UNROUTABLE, f"no queue took it: {text}")


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
