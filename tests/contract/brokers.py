"""A broker under each kind of publisher; a test says to both in the same words what happens to it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import Any, Protocol
from urllib.parse import urlsplit

from relay.broker import RabbitPublisher
from relay.model import Envelope, Fault, Refusal, Refused
from relay.ports import Publisher
from services.find import OwnRabbitMQ
from services.proxy import Proxy
from tests.builders import Amqp, eventually
from tests.doubles import Fate, ScriptedPublisher
from tests.publishing import envelope, publishing

PATIENCE_S = 10.0
"""How long a publisher waits for a connection, or for a confirm."""
IMPATIENCE_S = 0.5
"""The same where it shall be in vain."""
NO_FRAME_IS_TOO_LARGE = 2**20


class Kind(Enum):
    """What is the matter with a message."""

    GOOD = auto()
    UNROUTABLE = auto()
    REJECTED = auto()
    """Its queue is full and says so."""
    NO_EXCHANGE = auto()
    INVALID = auto()
    """AMQP cannot carry it."""
    CLOSES_CHANNEL = auto()
    CLOSES_CONNECTION = auto()


Batch = dict[int, Kind]
"""The kinds of rows by their ids, in the order in which they are published."""


class Stand(Protocol):
    """A publisher, its broker, and all that a test does to them."""

    @property
    def publisher(self) -> Publisher:
        """The publisher under test."""
        ...

    def envelopes(self, batch: Batch) -> Sequence[Envelope]:
        """Messages of those kinds."""
        ...

    async def arrived(self) -> Counter[int]:
        """How often each row's message reached its queue; what was counted once is not counted again."""
        ...

    async def hold(self) -> None:
        """Let messages arrive and no answer come back."""
        ...

    async def let_go(self) -> None:
        """Let the answers come."""
        ...

    async def in_flight(self, count: int) -> None:
        """Wait until so many messages have arrived while answers are held."""
        ...

    async def lose(self) -> None:
        """Break the connection; a new one can be had."""
        ...

    async def fall(self, fault: Fault) -> None:
        """Break the connection, and let there be none: REFUSED, or TIMEOUT when nobody answers."""
        ...

    async def rise(self) -> None:
        """Let connections be had again."""
        ...

    async def arm(self) -> None:
        """Get ready for a message that closes the connection: the publisher itself would refuse it."""
        ...


class ScriptedStand:
    """The double's."""

    FATES: Mapping[Kind, Fate | Refused] = {
        Kind.UNROUTABLE: Refused(Refusal.UNROUTABLE, "312 NO_ROUTE"),
        Kind.REJECTED: Refused(Refusal.REJECTED, "nack"),
        Kind.NO_EXCHANGE: Refused(Refusal.NO_EXCHANGE, "404"),
        Kind.INVALID: Refused(Refusal.INVALID, "too long"),
        Kind.CLOSES_CHANNEL: Fate.CLOSE_CHANNEL,
        Kind.CLOSES_CONNECTION: Fate.CLOSE_CONNECTION,
    }

    def __init__(self, timeout_s: float = PATIENCE_S) -> None:
        self.publisher = ScriptedPublisher(asyncio.get_running_loop().time, confirm_timeout_s=timeout_s)
        self._counted: Counter[int] = Counter()

    def envelopes(self, batch: Batch) -> Sequence[Envelope]:
        self.publisher.always = {row_id: self.FATES[kind] for row_id, kind in batch.items() if kind in self.FATES}
        return [envelope(row_id) for row_id in batch]

    async def arrived(self) -> Counter[int]:
        fresh = self.publisher.arrived - self._counted
        self._counted += fresh
        return fresh

    async def hold(self) -> None:
        self.publisher.holding = True

    async def let_go(self) -> None:
        self.publisher.let_go()

    async def in_flight(self, count: int) -> None:
        await eventually(lambda: self.publisher.in_flight >= count)

    async def lose(self) -> None:
        self.publisher.lose()

    async def fall(self, fault: Fault) -> None:
        self.publisher.fall(fault)

    async def rise(self) -> None:
        self.publisher.down = None

    async def arm(self) -> None:
        pass

    async def block(self) -> None:
        """Raise an alarm: the broker takes no more messages."""
        self.publisher.fall(Fault.BLOCKED)

    async def unblock(self) -> None:
        """Clear the alarm."""
        self.publisher.down = None


class RabbitStand:
    """The real one, behind a proxy that can be cut."""

    FIELDS: Mapping[Kind, dict[str, Any]] = {
        Kind.GOOD: {},
        Kind.UNROUTABLE: {"routing_key": "nowhere"},
        Kind.REJECTED: {"routing_key": "full"},
        Kind.NO_EXCHANGE: {"exchange": "missing"},
        Kind.INVALID: {"routing_key": "k" * 300},
        Kind.CLOSES_CHANNEL: {"properties": {"expiration": "soon"}},
        Kind.CLOSES_CONNECTION: {"headers": {"pad": "x" * 200_000}},
    }

    def __init__(self, publisher: RabbitPublisher, amqp: Amqp, between: Proxy) -> None:
        self.publisher = publisher
        self._amqp = amqp
        self._between = between

    def envelopes(self, batch: Batch) -> Sequence[Envelope]:
        return [envelope(row_id, **self.FIELDS[kind]) for row_id, kind in batch.items()]

    async def arrived(self) -> Counter[int]:
        messages = await self._amqp.drain("all")
        return Counter(int(str((message.headers or {})["x-outbox-id"])) for message in messages)

    async def hold(self) -> None:
        assert await self.publisher.ready() is None
        self._between.hold("down")

    async def let_go(self) -> None:
        await self._between.pass_all()

    async def in_flight(self, count: int) -> None:
        async def seen() -> bool:
            return await self._amqp.count("all") >= count

        await eventually(seen)

    async def lose(self) -> None:
        self._between.reset_all()
        await self._noticed()
        await self._between.pass_all()

    async def fall(self, fault: Fault) -> None:
        if fault is Fault.REFUSED:
            await self._between.refuse()
        else:
            self._between.blackhole()
        self._between.reset_all()
        await self._noticed()

    async def _noticed(self) -> None:
        await eventually(lambda: not self.publisher.connected)

    async def rise(self) -> None:
        await self._between.pass_all()

    async def arm(self) -> None:
        """Widen the frames as if the encoder had let it pass."""
        assert await self.publisher.ready() is None
        assert self.publisher._link is not None
        self.publisher._link.frame_max = NO_FRAME_IS_TOO_LARGE


MakeProxy = Callable[[str, int], Awaitable[Proxy]]


@asynccontextmanager
async def on_rabbit(amqp: Amqp, proxy: MakeProxy, timeout_s: float = PATIENCE_S) -> AsyncIterator[RabbitStand]:
    """A real one, with a queue `all`, and a queue `full` that is."""
    await amqp.queue("all")
    await amqp.queue("full", x_max_length=1, x_overflow="reject-publish")
    server = urlsplit(amqp.url)
    between = await proxy(server.hostname or "127.0.0.1", server.port or 5672)
    timeouts = {"confirm_timeout_s": timeout_s, "connect_timeout_s": timeout_s}
    async with publishing(between.url(amqp.url), **timeouts) as publisher, publishing(amqp.url) as filler:
        async for _ in filler.publish([envelope(1, "full")]):
            pass
        yield RabbitStand(publisher, amqp, between)


class AlarmedStand(RabbitStand):
    """One whose broker is ours to alarm."""

    def __init__(self, publisher: RabbitPublisher, amqp: Amqp, between: Proxy, broker: OwnRabbitMQ) -> None:
        super().__init__(publisher, amqp, between)
        self._broker = broker

    async def block(self) -> None:
        """Raise an alarm: the broker takes no more messages."""
        await asyncio.to_thread(self._broker.alarm, on=True)

    async def unblock(self) -> None:
        """Clear the alarm."""
        await asyncio.to_thread(self._broker.alarm, on=False)
