"""Publishes batches with confirms, and answers for every message exactly once, whatever the broker does."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing

from relay.broker.channel import ConfirmChannel
from relay.broker.classify import End, Loss, Verdict, unwritten
from relay.broker.connection import BrokerConfig, connect
from relay.broker.exchanges import Exchanges
from relay.broker.flight import FLUSH_S, fly, load
from relay.broker.link import Link, as_loss
from relay.broker.within import pulse
from relay.model import Answer, Envelope, Fault, Outcome, Refused, Unknown, Unreachable

Answers = AsyncGenerator[Sequence[Answer], None]
Place = tuple[Link, ConfirmChannel]
CLOSED = Loss(Fault.OTHER, "the publisher is closed")


class RabbitPublisher:
    """A RabbitMQ broker: one connection, opened anew whenever it ended, and a channel for each concurrent publish.

    Fills `relay.ports.Publisher`. Neither connection nor channel is ever repaired: after its end it is replaced.
    """

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._exchanges = Exchanges(config)
        self._link: Link | None = None
        self._opening = asyncio.Lock()
        self._closed = False
        self._blocked = False
        self._latency_s: float | None = None

    @property
    def connected(self) -> bool:
        """A connection is open."""
        return self._link is not None and self._link.end is None

    @property
    def blocked(self) -> bool:
        """The broker blocked publishers (a memory or disk alarm), and has answered no publish since."""
        return self._blocked or (self._link is not None and _is_block(self._link.end))

    @property
    def latency_s(self) -> float | None:
        """Seconds of the latest round trip: from a publish to its last confirm, or of opening a channel."""
        return self._latency_s

    async def ready(self) -> Unreachable | None:
        """Make sure of an open, unblocked connection with a channel; say why there is none. Never raises.

        One attempt to connect. A block that no publish has reported is reported once; the next call connects anew.
        """
        loss = await self._prepare(())
        return None if loss is None else unwritten(loss)

    async def check_exchange(self, name: str) -> Refused | Unreachable | None:
        """Ask the broker, now, whether an exchange exists; None when it does, or when the broker would not say."""
        if not name:
            return None
        answer = await self._exchanges.ask(name)
        return unwritten(answer) if isinstance(answer, Loss) else answer

    async def close(self, grace_s: float) -> None:
        """Close the connections within `grace_s` seconds; what is in flight is answered as unreachable."""
        self._closed = True
        closing = [self._exchanges.close(grace_s), *([self._link.close(grace_s)] if self._link else [])]
        await asyncio.gather(*closing)

    async def publish(self, envelopes: Sequence[Envelope]) -> Answers:
        """Publish a batch; see `relay.ports.Publisher`. A row may be in it once.

        The outcome of a batch of one is never Unknown. Cancelled or closed early, it leaves what was written to its
        fate, and the channel is not used again.
        """
        waiting = {envelope.row_id: envelope for envelope in envelopes}
        if len(waiting) != len(envelopes):
            raise AssertionError("a row is twice in one batch")
        while waiting:
            rest = tuple(waiting.values())
            attempt = self._alone(rest[0]) if len(envelopes) == 1 else self._together(rest)
            async with aclosing(attempt):
                async for answers in attempt:
                    for answer in answers:
                        if waiting.pop(answer.row_id, None) is None:
                            raise AssertionError(f"row {answer.row_id} was answered twice, or never asked")
                    yield answers

    # -- one attempt --------------------------------------------------------------------------------------------

    async def _together(self, envelopes: Sequence[Envelope]) -> Answers:
        """Publish on one channel. Messages it had not taken when the broker closed it remain without an answer."""
        names = {envelope.exchange for envelope in envelopes}
        unknown = self._exchanges.unknown(names)
        while unknown or (place := self._place()) is None:
            preparing = asyncio.ensure_future(self._prepare(unknown))
            async with aclosing(pulse(preparing, FLUSH_S)) as beats:
                async for nothing in beats:
                    yield nothing
            if (loss := preparing.result()) is not None:
                yield _all(envelopes, unwritten(loss))
                return
            unknown = set()  # asked once is enough, however short a belief may live
        async with aclosing(self._fly(place, envelopes, self._exchanges.refused(names))) as flight:
            async for answers in flight:
                yield answers

    async def _alone(self, envelope: Envelope) -> Answers:
        """Publish one message so that it is known whether it is to blame.

        When the broker closed the whole connection, only one on which nothing else has happened can tell whether it
        was because of this message.
        """
        async with aclosing(self._together((envelope,))) as attempt:
            async for answers in attempt:
                if answers and isinstance(answers[0].outcome, Unknown):
                    break
                yield answers
            else:
                return
        opening = asyncio.ensure_future(self._private_place())
        try:
            async with aclosing(pulse(opening, FLUSH_S)) as beats:
                async for nothing in beats:
                    yield nothing
            place = opening.result()
            if isinstance(place, Loss):
                yield [Answer(envelope.row_id, Unreachable(place.fault, place.detail, written=True))]
                return
            async with aclosing(self._fly(place, (envelope,), {})) as flight:
                async for answers in flight:
                    yield answers
        finally:
            opening.add_done_callback(_abort_private)

    async def _fly(self, place: Place, envelopes: Sequence[Envelope], refused: Mapping[str, Refused]) -> Answers:
        """Answer for what cannot be published, publish the rest, and draw the lessons of the end."""
        link, channel = place
        try:
            messages, known = load(envelopes, refused, channel.number, link.frame_max)
            if known:
                yield known
            began, count = channel.loop.time(), len(messages)
            async with aclosing(fly(link, channel, messages, confirm_timeout_s=self._config.confirm_timeout_s)) as fl:
                async for answers in fl:
                    yield answers
        finally:
            link.give_back(channel)
        match channel.end:
            case None:
                if count:
                    self._blocked, self._latency_s = False, channel.loop.time() - began
            case Verdict() as verdict if len(messages) < count:
                self._exchanges.judged(verdict, {envelope.exchange for envelope in envelopes})
            case end:
                left = {row_id for row_id, _ in messages}
                yield _all([each for each in envelopes if each.row_id in left], unwritten(as_loss(end)))
                self._drop(link)

    # -- connections --------------------------------------------------------------------------------------------

    def _place(self) -> Place | None:
        """Take a channel to publish on, if one is free."""
        link = self._link
        if self._closed or link is None or link.end is not None:
            return None
        channel = link.free_channel()
        return None if channel is None else (link, channel)

    async def _prepare(self, exchanges: Collection[str]) -> Loss | None:
        """See to a connection, a free channel, and knowledge of the exchanges; return what is in the way."""
        async with self._opening:
            loss = await self._connected()
        if loss is None:
            await self._exchanges.find_out(exchanges)
        return loss

    async def _connected(self) -> Loss | None:
        """See to a connection with a free channel."""
        if self._closed:
            return CLOSED
        if self._link is not None and self._link.end is not None:
            end = self._link.end
            self._drop(self._link)
            if _is_block(end):
                return as_loss(end)
        link = self._link
        if link is not None:
            loss = await self._open_channel(link)
            if not isinstance(link.end, Verdict):
                return loss
            # Another lane's message cost the connection: that is no outage, and a new one will do.
        new = await connect(self._config)
        if isinstance(new, Loss):
            return new
        self._link = new
        return await self._open_channel(new)

    async def _open_channel(self, link: Link) -> Loss | None:
        """See to a free channel, so that an open connection is known to answer."""
        if (free := link.free_channel()) is not None:
            link.give_back(free)
            return None
        began = asyncio.get_running_loop().time()
        channel = await link.channel()
        if isinstance(channel, Loss):
            self._drop(link)
            return channel
        self._latency_s = asyncio.get_running_loop().time() - began
        link.give_back(channel)
        return None

    def _drop(self, link: Link) -> None:
        """Forget a connection that ended."""
        self._blocked = self._blocked or _is_block(link.end)
        if self._link is link:
            self._link = None

    async def _private_place(self) -> Place | Loss:
        """Open a connection on which nothing else travels."""
        link = await connect(self._config, purpose="(one message)", private=True)
        if isinstance(link, Loss):
            return link
        channel: ConfirmChannel | Loss = CLOSED
        try:
            channel = await link.channel()
        finally:
            if isinstance(channel, Loss):
                link.abort(CLOSED)
        return channel if isinstance(channel, Loss) else (link, channel)


def _abort_private(opening: asyncio.Future[Place | Loss]) -> None:
    """Give the connection of one message up, whether it was used or came too late."""
    if not opening.cancelled() and opening.exception() is None and not isinstance(place := opening.result(), Loss):
        place[0].abort(CLOSED)


def _all(envelopes: Iterable[Envelope], outcome: Outcome) -> list[Answer]:
    return [Answer(envelope.row_id, outcome) for envelope in envelopes]


def _is_block(end: End | None) -> bool:
    return isinstance(end, Loss) and end.fault is Fault.BLOCKED
