"""Whole worlds of relays, an outbox and a broker, each from one seed: `make simulate` lives through many more."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from tests.simulation import Broken, World, live
from tests.simulation.verdict import verdict

SEEDS = 300
BLOCKS = 10
CALM, TERMINATED, STORMY, ORDERED = 0, 1, 7, 10
"""Seeds whose last digit tells the weather."""
MET = frozenset({
    "ack", "ack multiple", "nack", "nack multiple", "ghost", "late delivery", "bystanders", "late commit",
    "unroutable", "rejected", "no_exchange", "closes_channel", "closes_connection", "cuts", "kills",
    "connection ended: CancelledError", "connection ended: ConnectionClosed", "connection ended: ConnectionResetError",
    "claim before", "claim after", "claim late", "settle before", "settle halfway", "settle after", "ready after",
    "commits lost by a crash", "row erased by a crash",
    "lease of a dead relay ran out", "lease of a living relay ran out",
    "kill", "terminate", "freeze", "fall", "cut", "stop", "block", "lose_database", "crash_database", "slow",
})  # fmt: skip
"""What a few hundred worlds have to meet, or they prove nothing."""
TRACE = (
    "from tests.simulation import live; w = live({seed}).witness; print(w.story_of_all(), sorted(w.happened.items()))"
)


@pytest.mark.parametrize("part", range(BLOCKS))
def test_no_storm_loses_repeats_or_blames_a_row_without_a_reason(part: int) -> None:
    for seed in range(part, SEEDS, BLOCKS):
        live(seed)


def test_every_fault_and_every_habit_was_met() -> None:
    happened: Counter[str] = Counter()
    for seed in range(2, SEEDS):
        happened += live(seed).witness.happened
        if happened.keys() >= MET:
            return
    assert sorted(MET - happened.keys()) == []


def test_the_same_seed_is_the_same_world_in_another_process() -> None:
    """Not even the order of a set may matter."""
    told = [
        subprocess.run(
            [sys.executable, "-c", TRACE.format(seed=STORMY)],
            env=os.environ | {"PYTHONHASHSEED": number},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for number in ("1", "2")
    ]
    assert told[0] == told[1]
    assert "published by relay" in told[0]
    assert live(STORMY).witness.story_of_all() != live(STORMY + 10).witness.story_of_all()


@pytest.mark.parametrize("seed", [CALM, TERMINATED])
def test_without_a_fault_each_row_arrives_once_and_SIGTERM_is_no_fault(seed: int) -> None:  # noqa: N802 - its name
    world = live(seed)
    assert set(world.broker.queue.values()) == {1}
    assert world.witness.happened["terminate"] == 0 if seed == CALM else world.witness.happened["terminate"] > 0


def a_sent_row(world: World) -> int:
    """Some row that arrived."""
    return next(row_id for row_id, stored in world.table.rows.items() if stored.status == "sent")


def lose(world: World) -> None:
    """Of a message there is no trace."""
    del world.broker.queue[a_sent_row(world)]


def invent(world: World) -> None:
    """A message nobody committed."""
    world.broker.queue[999] = 1


def repeat(world: World) -> None:
    """A message comes twice."""
    world.broker.queue[a_sent_row(world)] += 1


def erase(world: World) -> None:
    """A row vanishes."""
    row_id = a_sent_row(world)
    del world.table.rows[row_id], world.broker.queue[row_id]


def blame(world: World) -> None:
    """A row is given up for nothing."""
    world.table.rows[a_sent_row(world)].status = "failed"


def forget(world: World) -> None:
    """A row is never published."""
    world.table.rows[a_sent_row(world)].status = "pending"


def charge(world: World) -> None:
    """A row pays for an outage."""
    world.table.rows[a_sent_row(world)].failures += 1


def burn(world: World) -> None:
    """A claim was not given back."""
    world.table.rows[a_sent_row(world)].claims += 1


def miscount(world: World) -> None:
    """A relay tells of too few."""
    world.past[0].observer.reports.clear()


def overtake(world: World) -> None:
    """A message comes before an earlier one of its key."""
    alike = [row_id for row_id, stored in world.table.rows.items() if stored.row.key == "a"]
    times = world.broker.queue.pop(alike[0])
    world.broker.queue[alike[0]] = times


@pytest.mark.parametrize("wrong", [overtake])
def test_the_verdict_sees_that_order_was_not_kept(wrong: Callable[[World], None]) -> None:
    world = live(ORDERED)
    assert verdict(world) == []
    wrong(world)
    assert any("of its key a" in line for line in verdict(world))


@pytest.mark.parametrize("wrong", [lose, invent, repeat, erase, blame, forget, charge, burn, miscount])
def test_the_verdict_sees_what_is_wrong(wrong: Callable[[World], None]) -> None:
    world = live(CALM)
    assert verdict(world) == []
    wrong(world)
    assert verdict(world)


def test_a_broken_promise_tells_the_seed_and_the_story_of_the_row() -> None:
    world = live(CALM)
    text = str(Broken(world, [f"row {a_sent_row(world)} is lost"]))
    assert f"make simulate SEEDS=1 FROM={CALM}" in text
    assert "published by relay" in text
