"""Marks that could not be written: kept in memory until the database takes them."""

from collections.abc import Sequence
from uuid import UUID

from relay.engine.servers import Servers
from relay.model import Mark
from relay.ports import Observer, Store, StoreUnavailable


class Ledger:
    """Writes marks; what an outage of the database leaves over is written before anything new is claimed.

    So a confirmed row is marked again, never published again, and a claim that is owed back is given back. The size
    is bounded by the rows in hand when the outage began, because nothing is claimed during it.
    """

    def __init__(self, store: Store, servers: Servers, observer: Observer) -> None:
        self._store = store
        self._servers = servers
        self._observer = observer
        self._owed: list[tuple[UUID, tuple[Mark, ...]]] = []
        self.given_up = False
        """The database did not take the last words; it is not asked again."""

    async def write(self, token: UUID, marks: Sequence[Mark], *, last: bool = False) -> frozenset[int] | None:
        """Write marks and return the rows that were no longer ours; None when they are kept for later.

        While the database is known to be gone they are kept without asking it. The `last` are those of a cancelled run.
        """
        outage = self._servers.outage("database")
        if outage is None:
            try:
                return await self._store.settle(token, marks)
            except StoreUnavailable as error:
                self._servers.database_failed(error)
                fault, self.given_up = error.fault, self.given_up or last
        else:
            fault = outage.fault
        self._owed.append((token, tuple(marks)))
        self._observer.unsettled(len(marks), fault)
        return None

    async def pay(self) -> bool:
        """Write what is owed; return whether nothing is left. One caller at a time."""
        while self._owed:
            token, marks = self._owed[0]
            try:
                await self._store.settle(token, marks)
            except StoreUnavailable as error:
                self._servers.database_failed(error)
                return False
            self._owed.pop(0)
        return True
