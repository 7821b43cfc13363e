"""A broker with the manners measured of the real one; all relays of a simulation share it.

It takes messages in the order of their connection, confirms them late, in any order, one by one or several at once,
returns before it acks, throws away what follows the guilty message on a closed channel, keeps what it got from a
connection that is no more, and takes what it cannot look at (stopped, blocked, without a majority) to look at it later.
"""

import asyncio
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

from aiormq.exceptions import ConnectionClosed, ConnectionFrameError

from relay.broker.classify import Loss
from relay.model import Fault
from tests.simulation.link import Channel, Link

LONG = 5.0
"""No time is longer than so many times its mean: a broker that is well confirms before a relay loses patience."""
FORCED = ConnectionClosed(320, "CONNECTION_FORCED - broker forced connection closure")
FRAME_ERROR = ConnectionFrameError("FRAME_ERROR - type 2, all octets")


class Fate(Enum):
    """What comes of a message, when it is not simply taken."""

    UNROUTABLE = auto()
    REJECTED = auto()
    NO_EXCHANGE = auto()
    """The relay knows before it writes."""
    CLOSES_CHANNEL = auto()
    CLOSES_CONNECTION = auto()
    CUTS = auto()
    """Something on the way breaks the connection because of it, and says nothing."""
    KILLS = auto()
    """The relay dies of it."""


@dataclass(slots=True)
class Manners:
    """How long things take, in seconds on average."""

    way_s: float
    """From the relay to the broker, or back."""
    confirm_s: float
    multiple: float
    """How often an ack covers what came before."""
    ghost_s: float
    """For so long after the end of a connection its last bytes still arrive."""


class Broker:
    """The queue, and whether the broker is of any use now."""

    def __init__(self, chance: random.Random, manners: Manners, happened: Counter[str]) -> None:
        self.loop = asyncio.get_running_loop()
        self.chance = chance
        self.manners = manners
        self.happened = happened
        self.queue: Counter[int] = Counter()
        """How often each row's message arrived."""
        self.fates: defaultdict[int, deque[Fate]] = defaultdict(deque)
        """The next fates of a row, one for each time."""
        self.bad: dict[int, Fate] = {}
        """The fate of a row, each time."""
        self.struck: Counter[int] = Counter()
        """How often a fate met the row."""
        self.down: Fault | None = None
        """Why no connection can be had."""
        self.stopped = False
        """Its process does not run: it takes everything and says nothing."""
        self.blocked = False
        """An alarm is on: connections can be had, and what they publish waits."""
        self._held: list[tuple[Channel, int, int]] = []
        self.links: list[Link] = []

    def some(self, mean_s: float) -> float:
        """A time that is mostly short and sometimes long."""
        return min(self.chance.expovariate(1 / mean_s), LONG * mean_s)

    def fate(self, row_id: int, *, of: Callable[[Fate], bool]) -> Fate | None:
        """The fate of this publish, if it is one of those."""
        fates = self.fates[row_id]
        fate = fates[0] if fates else self.bad.get(row_id)
        if fate is None or not of(fate):
            return None
        if fates:
            fates.popleft()
        self.happened[fate.name.lower()] += 1
        self.struck[row_id] += 1
        return fate

    # -- messages -----------------------------------------------------------------------------------------------

    def connect(self) -> Link:
        """Accept a connection."""
        link = Link(lambda: self.some(self.manners.ghost_s))
        self.links = [each for each in self.links if each.end is None]
        self.links.append(link)
        return link

    def take(self, channel: Channel, tag: int, row_id: int) -> None:
        """A message came to the broker's socket, if the way was open."""
        link = channel.link
        if self.down is not None or self.loop.time() > link.cut_at:
            return
        if link.end is not None:
            self.happened["ghost"] += 1
        if self.stopped or self.blocked:
            self._held.append((channel, tag, row_id))
            if not self.stopped:
                self.tell_blocked(link)
            return
        self._look(channel, tag, row_id)

    def tell_blocked(self, link: Link) -> None:
        """Tell a connection that publishes; one that does not is not told."""
        self.tell(link, partial(link.finish, Loss(Fault.BLOCKED, "low on memory")))

    def _look(self, channel: Channel, tag: int, row_id: int) -> None:
        """Do with a message what is to be done."""
        if channel.closed or channel.link.closed:
            return
        match self.fate(row_id, of=lambda fate: fate not in {Fate.NO_EXCHANGE, Fate.KILLS}):
            case Fate.CLOSES_CHANNEL:
                channel.closed = True
                self.happened["bystanders"] += len(channel.unsaid) > 0
                self.tell(channel.link, partial(channel.hear_close, 406, "PRECONDITION_FAILED - invalid expiration"))
            case Fate.CLOSES_CONNECTION:
                channel.link.closed = True
                self.tell(channel.link, partial(channel.link.hear_end, FRAME_ERROR))
            case Fate.CUTS:
                channel.link.hear_end(ConnectionResetError("reset by a proxy"))
            case Fate.REJECTED:
                self._confirm_later(channel, tag, "nack")
            case Fate.UNROUTABLE:
                self.tell(channel.link, partial(channel.hear_return, row_id))
                self._confirm_later(channel, tag, "ack")
            case _:
                self.queue[row_id] += 1
                self._confirm_later(channel, tag, "ack")

    def _confirm_later(self, channel: Channel, tag: int, word: str) -> None:
        channel.unsaid[tag] = word
        self.loop.call_later(self.some(self.manners.confirm_s), self._confirm, channel, tag)

    def _confirm(self, channel: Channel, tag: int) -> None:
        """Say it, and with it perhaps the same of all that came before."""
        if self.stopped:
            self.loop.call_later(1.0, self._confirm, channel, tag)
            return
        word = channel.unsaid.get(tag)
        if word is None or channel.closed or channel.link.closed:
            return
        upto = [earlier for earlier in channel.unsaid if earlier <= tag]
        alike = len(upto) > 1 and {channel.unsaid[each] for each in upto} == {word}
        multiple = alike and self.chance.random() < self.manners.multiple
        for each in upto if multiple else [tag]:
            del channel.unsaid[each]
        self.happened[f"{word} multiple" if multiple else word] += 1
        self.tell(channel.link, partial(channel.hear, word, tag, multiple=multiple))

    def tell(self, link: Link, words: Callable[[], object]) -> None:
        """Send something back; it arrives in order."""
        link.back_at = max(link.back_at + 1e-6, self.loop.time() + self.some(self.manners.way_s))
        self.loop.call_at(link.back_at, link.hear, words)

    # -- trouble ------------------------------------------------------------------------------------------------

    def fall(self, fault: Fault) -> None:
        """End every connection, and let there be none."""
        self.down = fault
        self.end_all()
        self._held.clear()

    def end_all(self) -> None:
        """End every connection, in one of the ways in which they end without a verdict."""
        for link in tuple(self.links):
            error = self.chance.choice((FORCED, ConnectionResetError("reset"), asyncio.CancelledError(), None))
            self.happened[f"connection ended: {type(error).__name__}"] += 1
            link.hear_end(error)

    def block(self) -> None:
        """Raise an alarm; those that have published are told."""
        self.blocked = True
        for link in tuple(self.links):
            if link.published:
                self.tell_blocked(link)

    def resume(self) -> None:
        """Be well again, and look at all that was taken in the meantime; of a blocked connection that is no more, not
        always."""
        was_blocked, held = self.blocked, self._held
        self.down, self.stopped, self.blocked, self._held = None, False, False, []
        for channel, tag, row_id in held:
            if channel.link.end is not None and was_blocked and self.chance.random() < 0.5:
                continue
            self.happened["late delivery"] += channel.link.end is not None
            self._look(channel, tag, row_id)
