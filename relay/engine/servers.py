"""The two servers as the engine sees them: an outage machine each, asked anew when its rest is over."""

from typing import Literal

from relay import outage
from relay.engine.policy import Chance
from relay.model import Fault
from relay.outage import Flowing, Outage, OutagePolicy, Probing, Proof, State
from relay.ports import Observer, Publisher, Store, StoreUnavailable

Side = Literal["broker", "database"]


class Servers:
    """Holds the state of both sides and tells the observer of every change."""

    def __init__(
        self, store: Store, publisher: Publisher, observer: Observer, policy: OutagePolicy, chance: Chance
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._observer = observer
        self._policy = policy
        self._chance = chance
        self.states: dict[Side, State] = {"broker": Flowing(), "database": Flowing()}

    def outage(self, side: Side) -> Outage | None:
        """Return the outage of one side; None when it flows or is being probed."""
        state = self.states[side]
        return state if isinstance(state, Outage) else None

    @property
    def gone(self) -> bool:
        """Nothing new may be published: it could not be, or could not be marked."""
        return any(isinstance(state, Outage) for state in self.states.values())

    @property
    def probing_broker(self) -> bool:
        """The next row in hand is the question whether the broker is back."""
        return isinstance(self.states["broker"], Probing)

    @property
    def cautious(self) -> bool:
        """One lane must work alone: during a probe of either server and on the ramp after it."""
        return any(outage.cautious(state) for state in self.states.values())

    def claim_limit(self, batch: int) -> int:
        """Rows the next claim may take."""
        return min(outage.claim_limit(state, batch) for state in self.states.values())

    def rest_s(self) -> float | None:
        """Seconds until a server that is gone may be asked again; None when neither is gone."""
        waits = [state.next_at - self._chance.now() for state in self.states.values() if isinstance(state, Outage)]
        return min(waits, default=None)

    async def ask_database(self) -> bool:
        """Return whether the database is there; in an outage it is not asked before its rest is over."""
        if not self._may_ask("database"):
            return False
        try:
            await self._store.ready()
        except StoreUnavailable as error:
            self.database_failed(error)
            return False
        return True

    async def ask_broker(self) -> bool:
        """Return whether the broker is there; in an outage it is not asked before its rest is over."""
        if not self._may_ask("broker"):
            return False
        lost = await self._publisher.ready()
        if lost is not None:
            self.failed("broker", lost.fault, lost.detail)
        return lost is None

    def _may_ask(self, side: Side) -> bool:
        state = self.states[side]
        if not isinstance(state, Outage):
            return True
        if self._chance.now() < state.next_at:
            return False
        self._change(side, outage.probe(state))
        return True

    def failed(self, side: Side, fault: Fault, detail: str) -> None:
        """Open an outage of one side, or lengthen it."""
        now, jitter = self._chance.now(), self._chance.jitter()
        after = outage.fail(self.states[side], fault, detail, now=now, jitter=jitter, policy=self._policy)
        self._change(side, after)

    def database_failed(self, error: StoreUnavailable) -> None:
        """Open the database's outage, or lengthen it."""
        self.failed("database", error.fault, error.detail)

    def proved(self, side: Side, proof: Proof) -> None:
        """Take good news of one side."""
        self._change(side, outage.prove(self.states[side], proof))

    def _change(self, side: Side, after: State) -> None:
        before, self.states[side] = self.states[side], after
        if before != after:
            self._observer.state_changed(side, before, after)
