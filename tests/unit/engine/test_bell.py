"""The doorbell in the engine's hand: sleep until it rings, and never because of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.decide import PollPolicy
from relay.engine.bell import BUSY_RATE, CALM_RATE, WINDOW_S, Tempo, came
from relay.model import Fault
from tests.doubles import Bench, MemoryBell

MakeBench = Callable[..., Bench]
LONG_S = 50.0


@pytest.fixture
def bell() -> MemoryBell:
    """A doorbell that nobody holds."""
    return MemoryBell()


@asynccontextmanager
async def asleep(
    a_bench: MakeBench, bell: MemoryBell, poll_s: float = LONG_S, **policy: object
) -> AsyncIterator[Bench]:
    """A relay that holds the bell and sleeps; a poll would be far away."""
    bench = a_bench(bell=bell, poll=PollPolicy(min_s=0.02, max_s=poll_s), **policy)
    async with bench.running():
        await bench.until(lambda: bell.held)
        await asyncio.sleep(2)
        yield bench


async def sent_at(bench: Bench, *row_ids: int) -> float:
    """Wait until those rows are sent; how long it took."""
    began = bench.now()
    await bench.until(lambda: set(row_ids) <= set(bench.store.ids("sent")), step_s=0.001)
    return bench.now() - began


async def test_a_row_that_rings_is_sent_without_waiting_for_the_poll(a_bench: MakeBench, bell: MemoryBell) -> None:
    async with asleep(a_bench, bell) as bench:
        for _ in range(20):
            ids = bench.store.commit()
            bell.rings()
            assert await sent_at(bench, *ids) < 0.01
            await asyncio.sleep(0.3)
        assert (bell.held, bell.taken) == (True, 1)


async def test_a_row_that_came_before_the_bell_was_in_hand_is_found_by_the_look_after_it(
    a_bench: MakeBench, bell: MemoryBell
) -> None:
    bench = a_bench(bell=bell, poll=PollPolicy(min_s=0.02, max_s=LONG_S))

    def come() -> None:
        bench.store.commit()

    bell.on_take = come
    async with bench.running():
        await bench.until(lambda: bell.held)
        assert await sent_at(bench, 1) < 0.01


async def test_a_late_commit_below_the_mark_that_rings_is_found(a_bench: MakeBench, bell: MemoryBell) -> None:
    async with asleep(a_bench, bell, rescan_s=3000.0) as bench:
        for row_id in range(10, 15):
            bench.store.commit(id=row_id)
            bell.rings()
            await sent_at(bench, row_id)
            await asyncio.sleep(1.5)
        await asyncio.sleep(2 * LONG_S)  # a poll has seen that the table is empty
        bench.store.commit(id=3)
        bell.rings()
        assert await sent_at(bench, 3) < 0.01


async def test_a_row_that_comes_while_another_is_carried_is_not_missed(a_bench: MakeBench, bell: MemoryBell) -> None:
    async with asleep(a_bench, bell) as bench:
        bench.store.reply_s = 0.003
        for step in range(40):
            bench.store.commit()
            bell.rings()
            await asyncio.sleep(step * 0.0001)
            ids = bench.store.commit()
            bell.rings()
            assert await sent_at(bench, *ids) < 0.01


async def test_with_the_bell_in_hand_rows_that_fall_due_by_time_are_still_polled_for(
    a_bench: MakeBench, bell: MemoryBell
) -> None:
    async with asleep(a_bench, bell, poll_s=0.5) as bench:
        bench.store.commit(delay_s=7)
        assert 7 < await sent_at(bench, 1) < 7.6


async def test_an_idle_relay_with_the_bell_asks_once_a_poll(a_bench: MakeBench, bell: MemoryBell) -> None:
    async with asleep(a_bench, bell, poll_s=0.5, rescan_s=3000.0) as bench:
        before = bench.store.asked("claim")
        await asyncio.sleep(100)
        assert 195 <= bench.store.asked("claim") - before <= 201
        assert bell.tries == 1


async def test_while_another_relay_holds_the_bell_rows_are_polled_for(a_bench: MakeBench, bell: MemoryBell) -> None:
    bell.free = False
    bench = a_bench(bell=bell)
    async with bench.running():
        await asyncio.sleep(10)
        bench.store.commit()
        assert await sent_at(bench, 1) < 0.6
        assert 15 < bell.tries < 60
        bell.free = True
        await bench.until(lambda: bell.held, within_s=1)


async def test_a_lost_bell_wakes_and_rows_are_polled_for(a_bench: MakeBench, bell: MemoryBell) -> None:
    async with asleep(a_bench, bell, poll_s=0.5) as bench:
        bench.store.commit()
        bell.breaks()
        assert await sent_at(bench, 1) < 0.01
        bench.store.commit()
        assert await sent_at(bench, 2) < 0.6


async def test_under_load_the_bell_is_let_go_and_taken_again_after_it(a_bench: MakeBench, bell: MemoryBell) -> None:
    async with asleep(a_bench, bell) as bench:
        for _ in range(600):
            bench.store.commit(n=5)
            bell.rings()
            await asyncio.sleep(0.002)
        assert not bell.held
        await bench.until(lambda: not bench.store.ids("pending"))
        await bench.until(lambda: bell.held, within_s=1)
        assert bell.taken <= 3


async def test_producers_who_wait_for_each_other_are_found_out(a_bench: MakeBench, bell: MemoryBell) -> None:
    """While they ring they commit one by one, slowly; without the bell many transactions are open at any time."""
    async with asleep(a_bench, bell, poll_s=0.5) as bench:
        freed = 0
        for _ in range(2500):
            bell.free = False
            bench.store.commit(n=1 if bell.held else 3)
            bell.rings()
            await asyncio.sleep(0.005)
            freed += not bell.held
        assert (freed > 1750, bell.taken) == (True, 1)


async def test_a_steady_flow_of_one_producer_finds_the_bell_held_nearly_always(
    a_bench: MakeBench, bell: MemoryBell
) -> None:
    async with asleep(a_bench, bell) as bench:
        held = 0
        for _ in range(4000):
            bench.store.commit()
            bell.rings()
            await asyncio.sleep(0.005)
            held += bell.held
        assert held > 3800


@pytest.mark.parametrize("side", ["broker", "database"])
async def test_in_an_outage_the_bell_is_left_to_others(a_bench: MakeBench, bell: MemoryBell, side: str) -> None:
    async with asleep(a_bench, bell, poll_s=0.5) as bench:
        if side == "broker":
            bench.publisher.fall()
        else:
            bench.store.down = Fault.LOST
        bench.store.commit()
        bell.rings()
        await bench.until(lambda: not bell.held, within_s=2)
        await asyncio.sleep(60)
        before = len(bench.store.calls)
        assert (bell.held, bell.taken) == (False, 1)
        await asyncio.sleep(60)
        assert len(bench.store.calls) - before < 20
        bench.publisher.down = None
        bench.store.heal()
        await bench.until(lambda: bell.held)
        assert bench.store.ids("sent") == [1]


async def test_a_stop_wakes_the_sleeper_at_once_and_gives_the_bell_away(a_bench: MakeBench, bell: MemoryBell) -> None:
    async with asleep(a_bench, bell) as bench:
        began = bench.now()
        bench.engine.stop()
        await bench.until(lambda: not bell.held, step_s=0.0001)
        assert bench.now() - began < 0.001


async def test_the_loop_is_told_alive_while_it_sleeps(a_bench: MakeBench, bell: MemoryBell) -> None:
    async with asleep(a_bench, bell) as bench:
        began = bench.now()
        await asyncio.sleep(40)
        turns = [at for at in bench.observer.turned_at if at >= began]
        assert max(after - before for before, after in pairwise(turns)) < 1.1


async def test_a_drain_does_without_it(a_bench: MakeBench, bell: MemoryBell) -> None:
    bench = a_bench(bell=bell)
    bench.store.commit(n=3)
    await bench.drain(within_s=1)
    assert (bench.store.ids("sent"), bell.tries) == ([1, 2, 3], 0)


@given(st.floats(1, 5000), st.floats(0.001, 0.05))
def test_a_steady_flow_is_seen_as_fast_as_it_is(rate: float, pause_s: float) -> None:
    tempo, sent, now = Tempo(), 0, 0.0
    while now < 3:
        now += pause_s
        rows = int(rate * now) - sent
        sent += rows
        tempo = came(tempo, rows, now)
    assert abs(tempo.rate - rate) <= 2 / WINDOW_S
    assert CALM_RATE < BUSY_RATE
