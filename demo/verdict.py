"""What was committed against what arrived. Pure: no file, no clock, no server."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol, TypeVar


class Fate(Enum):
    """How a transaction of the shop ended."""

    COMMITTED = auto()
    ROLLED_BACK = auto()
    UNKNOWN = auto()
    """The connection broke at COMMIT, and Postgres could not say later how it ended."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the shop tried to send."""

    digest: str
    fate: Fate


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the consumer received, once for each time it came."""

    message_id: str
    digest: str
    redelivered: bool
    """The broker says that it handed this very copy out before; it is not a copy of the relay's."""


class Delivery(Protocol):
    """What tells a relay's copy from a broker's."""

    @property
    def message_id(self) -> str: ...

    @property
    def redelivered(self) -> bool: ...


AnyDelivery = TypeVar("AnyDelivery", bound=Delivery)


def copies(arrivals: Iterable[AnyDelivery]) -> list[AnyDelivery]:
    """Return the further copies that the relay published, of deliveries in their order.

    One that the broker flags it has handed out before: to a consumer that was gone before its ack.
    """
    seen: set[str] = set()
    found: list[AnyDelivery] = []
    for each in arrivals:
        # A flagged copy may be the first one the consumer *recorded*: then it repeats nothing.
        if each.message_id in seen and not each.redelivered:
            found.append(each)
        seen.add(each.message_id)
    return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """The count; message ids where one may want to look."""

    committed: int
    rolled_back: int
    unknown: int
    delivered: int
    """Different messages that arrived and were meant to."""
    lost: tuple[str, ...]
    """Committed and never arrived."""
    phantom: tuple[str, ...]
    """Arrived, although rolled back or never tried."""
    altered: tuple[str, ...]
    """Arrived with another content than the one committed."""
    duplicates: int
    """Further copies the relay published."""
    redelivered: int
    """Copies the broker handed out once more, because it was stopped before it had the consumer's ack."""
    duplicates_max: int
    """What the relay promises for the faults of this run."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Return every promise that was broken, as a sentence each; none is a pass."""
        counted = (
            (len(self.lost), f"{_messages(len(self.lost))} committed and never arrived{_example(self.lost)}."),
            (len(self.phantom), f"{_messages(len(self.phantom))} never committed and arrived{_example(self.phantom)}."),
            (len(self.altered), f"{_messages(len(self.altered))} altered on the way{_example(self.altered)}."),
            (
                self.duplicates > self.duplicates_max,
                f"{self.duplicates:,} duplicates are more than the {self.duplicates_max:,} these faults explain.",
            ),
            (self.committed == 0, "The shop committed nothing, so nothing was shown."),
        )
        return tuple(sentence for wrong, sentence in counted if wrong)


def judge(orders: Mapping[str, Order], arrivals: Sequence[Arrival], *, duplicates_max: int) -> Verdict:
    """Compare the two sides by message id."""
    fates = Counter(order.fate for order in orders.values())
    came = Counter(arrival.message_id for arrival in arrivals)
    duplicates = len(copies(arrivals))
    meant = {message_id for message_id, order in orders.items() if order.fate is not Fate.ROLLED_BACK}
    altered = {
        each.message_id
        for each in arrivals
        if each.message_id in meant and each.digest != orders[each.message_id].digest
    }
    return Verdict(
        committed=fates[Fate.COMMITTED],
        rolled_back=fates[Fate.ROLLED_BACK],
        unknown=fates[Fate.UNKNOWN],
        delivered=len(came.keys() & meant),
        lost=tuple(key for key, order in orders.items() if order.fate is Fate.COMMITTED and key not in came),
        phantom=tuple(message_id for message_id in came if message_id not in meant),
        altered=tuple(sorted(altered)),
        duplicates=duplicates,
        redelivered=len(arrivals) - len(came) - duplicates,
        duplicates_max=duplicates_max,
    )


def _messages(count: int) -> str:
    return "1 message was" if count == 1 else f"{count:,} messages were"


def _example(message_ids: tuple[str, ...]) -> str:
    return f", such as {message_ids[0]}" if message_ids else ""
