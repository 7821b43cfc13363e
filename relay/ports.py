"""What the engine needs from the world, as Protocols; the adapters of the floor above fill them."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol
from uuid import UUID

from relay.model import Answer, Claim, Envelope, Fault, Mark, TickReport, Unreachable
from relay.outage import State


class StoreUnavailable(Exception):
    """The database cannot be used now; no row is to blame."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault = fault
        self.detail = detail


class Store(Protocol):
    """The outbox table."""

    async def ready(self) -> None:
        """Make sure of a connection and of the table the relay needs; cheap once it succeeded.

        Raises StoreUnavailable: with Fault.SCHEMA or Fault.PERMISSION the detail names each missing object
        or grant and how to add it.
        """
        ...

    async def claim(self, *, limit: int, low: int) -> Claim:
        """Lease up to `limit` due rows with `id >= low`, committed synchronously before it returns.

        Where order per key is kept, no row comes while an earlier pending row of its key does not come before it in
        the same claim: because it waits, or is in somebody's hands. What `low` says of them is then only whether it is
        0: look at all anew. A claim without rows looked at every one if it says there are no `more`.

        Else it looks at a bounded number of rows, due or not, and tells which one waits behind these (`beyond`).

        A suspected killer (`decide.suspect`) is claimed with nothing else: were the relay to die before it could give
        the others back, all of them would become suspects.

        Raises StoreUnavailable: rows may then be leased all the same, when only the reply was lost. The next `ready`
        that comes through gives those back as if never claimed, as it does those of a claim that was cancelled;
        otherwise an outage of the database could make a row look as if it had killed its relay again and again.
        """
        ...

    async def renew(self, token: UUID, row_ids: Sequence[int]) -> frozenset[int]:
        """Lengthen the lease of those rows and return the ids that are still ours."""
        ...

    async def settle(self, token: UUID, marks: Sequence[Mark]) -> frozenset[int]:
        """Write the marks and return the ids whose row is no longer ours to mark (`Sent` always is).

        Idempotent under one token. Raises StoreUnavailable: all, some or none may be written; settle again.
        """
        ...


class Waker(Protocol):
    """The doorbell: producers ring it when they commit rows while somebody holds it. No row depends on it."""

    @property
    def held(self) -> bool:
        """It is in hand; its loss ends that, with one more ring."""
        ...

    async def take(self, ring: Callable[[], None]) -> bool:
        """Take it, if it is to be had now; `ring` is called for every ring from then on, on this loop.

        A row that is committed after it returned rings. Of those before some do not: look at the whole table once
        more. Never raises, always ends.
        """
        ...

    async def let_go(self) -> None:
        """Let another relay take it; nothing rings after that. Never raises, always ends."""
        ...


class Publisher(Protocol):
    """The broker."""

    async def ready(self) -> Unreachable | None:
        """Make sure of an open, unblocked connection; say why there is none. Never raises, always ends."""
        ...

    def publish(self, envelopes: Sequence[Envelope]) -> AsyncGenerator[Sequence[Answer], None]:
        """Publish a batch and give the answers as they come; each envelope is answered exactly once.

        Yields at least every `FLUSH_S` seconds, an empty sequence when nothing is new, so that the caller can mark
        confirmed rows early and renew the lease. Never raises for an answer, a silence or a lost connection.
        """
        ...


class Observer(Protocol):
    """Everything that is counted or told."""

    def in_flight(self, change: int) -> None:
        """Rows were taken into the hand (positive) or left it (negative)."""
        ...

    def ticked(self, report: TickReport) -> None:
        """Rows were moved."""
        ...

    def turned(self) -> None:
        """The loop is alive; called at least once a second, in an outage too."""
        ...

    def lease_lost(self, row_ids: Sequence[int]) -> None:
        """Another relay took those rows while they were in flight here."""
        ...

    def unsettled(self, marks: int, fault: Fault) -> None:
        """Marks could not be written and are kept in memory to be written again."""
        ...

    def state_changed(self, side: str, before: State, after: State) -> None:
        """An outage of `side` ("broker" or "database") began, is probed, or ended."""
        ...
