"""The lease of one claim: until when its rows are certainly ours, and who is told when they are not."""

from collections.abc import Collection, Sequence

from relay.engine.desk import Desk
from relay.engine.tally import Tally
from relay.model import Claim, Doubt
from relay.ports import StoreUnavailable

RENEW_RETRY_S = 1.0


class Lease:
    """Renewed while answers are missing; past half of it nothing is published without renewing."""

    def __init__(self, claim: Claim, desk: Desk, tally: Tally) -> None:
        self._token = claim.token
        self._desk = desk
        self._tally = tally
        self._ours_until = claim.taken_at + desk.policy.lease_s / 2
        """Until then the rows are certainly ours, with half a lease left for the answers to come."""
        self._renew_at = self._ours_until
        self._lost: set[int] = set()
        """Rows that another relay took."""

    @property
    def sure(self) -> bool:
        """All rows are ours for long enough to publish them."""
        return not self._lost and self._desk.chance.now() < self._ours_until

    async def ours(self, row_ids: Sequence[int]) -> frozenset[int]:
        """Return those of the rows without an outcome that may be published; past half of the lease it is renewed."""
        if self._desk.chance.now() < self._ours_until:
            return frozenset(row_ids) - self._lost
        return await self.renew(row_ids)

    @property
    def due(self) -> bool:
        """It is time to renew."""
        return self._desk.chance.now() >= self._renew_at

    async def renew(self, row_ids: Sequence[int]) -> frozenset[int]:
        """Lengthen the lease of the rows without an outcome; return those that are certainly ours."""
        began = self._desk.chance.now()
        try:
            ours = await self._desk.store.renew(self._token, row_ids)
        except StoreUnavailable as error:
            self._renew_at = self._desk.chance.now() + RENEW_RETRY_S
            self._desk.servers.database_failed(error)
            return frozenset()
        self._ours_until = self._renew_at = began + self._desk.policy.lease_s / 2
        self._lost |= frozenset(row_ids) - ours
        self.overtaken(self._lost)
        return ours

    def overtaken(self, row_ids: Collection[int]) -> None:
        """Tell of rows that another relay holds now; what was published of them may be published twice."""
        fresh = [row_id for row_id in row_ids if self._tally.doubts.get(row_id) != Doubt.LEASE_LOST]
        self._tally.doubts.update(dict.fromkeys(fresh, Doubt.LEASE_LOST))
        if fresh:
            self._desk.observer.lease_lost(sorted(fresh))
