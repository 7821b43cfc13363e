"""The engine under random faults, by seed: a failure tells the seed, and the seed brings it back."""

import asyncio
import random
from collections.abc import Callable

import pytest

from relay.decide import RetryPolicy
from relay.model import Fault, Refusal, Refused
from relay.outage import Flowing
from tests.doubles import Bench, Fate, VirtualLoop

SEEDS = 300
STORM_S = 60.0
ROWS_MAX = 60
BAD_ONE_IN = 25
BAD = (
    Fate.CLOSE_CHANNEL,
    Fate.CLOSE_CONNECTION,
    Refused(Refusal.UNROUTABLE, "no queue"),
    Refused(Refusal.REJECTED, "x"),
)
OPS = ("ready", "claim", "renew", "settle")


class Storm:
    """One engine, and everything that can happen to it."""

    def __init__(self, seed: int, *, faults_max: int) -> None:
        self._faults_max = faults_max
        self.chance = random.Random(seed)
        self.bench = Bench(
            seed=seed,
            lanes=self.chance.randint(1, 3),
            batch_size=self.chance.choice((1, 5, 20)),
            lease_s=self.chance.choice((8.0, 60.0)),
            retry=RetryPolicy(max_failures=3, max_s=5.0),
        )
        self.store, self.publisher = self.bench.store, self.bench.publisher
        self.publisher.confirm_s = self.chance.choice((0.0, 0.01, 0.5))
        self.bad: dict[int, Fate | Refused] = {}
        self.rolled_back: set[int] = set()
        self.faults = 0

    def _commit(self) -> None:
        """Commit rows; some ids come late, some never."""
        for _ in range(self.chance.randint(1, 20)):
            row_id = max([0, *self.store.rows, *self.rolled_back]) + 1
            if self.chance.randrange(10) == 0:
                self.rolled_back.add(row_id)
                continue
            self.store.commit(id=row_id)
            if self.chance.randrange(BAD_ONE_IN) == 0:
                self.bad[row_id] = self.publisher.always[row_id] = self.chance.choice(BAD)
        if self.rolled_back and self.chance.randrange(3) == 0:  # it was no roll-back, only slow
            late = self.rolled_back.pop()
            self.store.commit(id=late)

    def _happen(self) -> None:
        store, publisher, pick = self.store, self.publisher, self.chance
        events: tuple[Callable[[], object], ...] = (
            lambda: store.fail_next(pick.choice(OPS), after=pick.random() < 0.5),
            lambda: setattr(store, "down", pick.choice(list(Fault))),
            lambda: setattr(store, "down", None),
            lambda: publisher.fall(pick.choice((Fault.REFUSED, Fault.BLOCKED, Fault.AUTH))),
            lambda: setattr(publisher, "down", None),
            publisher.lose,
            lambda: setattr(publisher, "holding", True),
            publisher.let_go,
            lambda: store.delay_s.update({pick.choice(OPS): pick.choice((0.0, 0.1, 3.0))}),
            publisher.close_channels if publisher.in_flight > 1 else publisher.lose,
        )
        pick.choice(events)()
        self.faults += 1

    def _calm(self) -> None:
        self.store.heal()
        self.publisher.down = None
        self.publisher.let_go()

    async def rage(self) -> None:
        """Commit and break things for a while, then let all of it be well, and wait until nothing is pending."""
        bench = self.bench
        async with bench.running() as task:
            while bench.elapsed_s < STORM_S and not task.done():
                await asyncio.sleep(self.chance.expovariate(1.0))
                if len(self.store.rows) < ROWS_MAX:
                    self._commit()
                if self.faults < self._faults_max:
                    self._happen()
            self._calm()
            # The longest leases, rests and backoffs, one after the other.
            await bench.until(lambda: task.done() or self._well(), within_s=300, step_s=0.5)

    def _well(self) -> bool:
        flowing = all(isinstance(state, Flowing) for state in self.bench.engine.servers.states.values())
        return flowing and not self.store.ids("pending")

    def check(self) -> None:
        """Compare what was committed with what arrived."""
        store, publisher = self.store, self.publisher
        sent, failed = set(store.ids("sent")), set(store.ids("failed"))
        assert store.rows.keys() == sent | failed, "everything drained"
        assert failed <= self.bad.keys(), "no row failed for another's fault, or for an outage"
        assert all(publisher.arrived[row_id] for row_id in sent), "nothing lost"
        assert publisher.arrived.keys() <= store.rows.keys(), "nothing published that was not committed"
        again = {row_id for row_id, times in publisher.arrived.items() if times > 1}
        assert again <= self._doubted(), "nothing repeated without a doubt about it"
        assert {row_id for row_id, stored in store.rows.items() if stored.failures} <= self.bad.keys()
        assert (self.bench.observer.in_hand, publisher.in_flight, store.leased()) == (0, 0, [])

    def _doubted(self) -> set[int]:
        """The rows that were once in flight without an answer; the publisher wrote it down."""
        return self.publisher.doubted | set(self.bench.observer.overtaken)


def ride(seed: int, *, calm: bool = False) -> Storm:
    """Go through the storm of that seed, on a loop of its own, so that it is always the same."""

    async def through() -> Storm:
        storm = Storm(seed, faults_max=0 if calm else 1000)
        try:
            await storm.rage()
            storm.check()
        except BaseException:
            print(f"seed {seed}: {storm.faults} faults, {len(storm.store.rows)} rows")
            raise
        return storm

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(through())


@pytest.mark.parametrize("block", range(10))
def test_no_storm_loses_repeats_or_blames_a_row_without_a_reason(block: int) -> None:
    for seed in range(block * SEEDS // 10, (block + 1) * SEEDS // 10):
        ride(seed)


def test_the_same_seed_brings_the_same_storm() -> None:
    first, second = ride(7), ride(7)
    assert first.publisher.published_at == second.publisher.published_at
    assert (first.publisher.published, first.store.marks) == (second.publisher.published, second.store.marks)


def test_without_a_fault_no_good_row_is_published_twice_but_beside_a_bad_one() -> None:
    storm = ride(11, calm=True)
    assert {row_id for row_id, times in storm.publisher.arrived.items() if times > 1} <= storm.publisher.doubted
    assert storm.faults == 0
