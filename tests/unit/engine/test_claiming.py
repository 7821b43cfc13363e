"""When the engine claims, how much, and from where."""

import asyncio
import itertools
from collections.abc import Callable

import pytest

from tests.doubles import Bench, VirtualLoop

MakeBench = Callable[..., Bench]


async def test_a_committed_row_is_published_and_marked_sent(bench: Bench) -> None:
    bench.store.commit()
    await bench.drain()
    assert (bench.store.statuses(), bench.publisher.rows()) == ({1: "sent"}, [1])


async def test_a_full_batch_is_followed_by_the_next_claim_at_once(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=10)
    bench.store.commit(n=100)
    async with bench.running():
        await bench.observer.seen("tick", 10)
        assert (len(bench.store.ids("sent")), bench.elapsed_s < 0.001) == (100, True)


async def test_a_claim_cut_by_its_bytes_is_followed_by_the_next_at_once(bench: Bench) -> None:
    bench.store.commit(n=20, payload=b"x" * 2**20)
    async with bench.running():
        await bench.until(lambda: len(bench.store.ids("sent")) == 20)
        assert bench.elapsed_s < bench.policy.poll.min_s
    assert all(len(rows) <= 8 for _, _, rows in bench.store.claims)


async def test_an_idle_relay_doubles_its_rest_to_the_longest(bench: Bench) -> None:
    async with bench.running():
        await bench.until(lambda: bench.store.asked("claim") == 10)
    times = [at for op, at in bench.store.calls if op == "claim"]
    rests = [round(later - earlier, 3) for earlier, later in itertools.pairwise(times)]
    assert rests[:9] == [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5, 0.5, 0.5]


async def test_a_row_that_was_found_makes_the_rest_short_again(bench: Bench) -> None:
    async with bench.running():
        await bench.until(lambda: bench.store.asked("claim") == 10)
        bench.store.commit()
        await bench.observer.seen("tick")
        ticked_at, asked = bench.now(), bench.store.asked("claim")
        await bench.until(lambda: bench.store.asked("claim") == asked + 1)
    assert bench.now() - ticked_at == pytest.approx(bench.policy.poll.min_s, abs=0.011)


@pytest.mark.parametrize("late_s", [0.0, 0.001, 0.004])
async def test_in_a_steady_flow_the_polls_keep_their_beat_however_late_it_wakes(bench: Bench, late_s: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    bench.store.delay_s["claim"] = 0.001
    bench.observer.turned = lambda: loop.busy(late_s)  # type: ignore[method-assign] # told before each rest, and after
    async with bench.running():
        for _ in range(400):
            bench.store.commit()
            await asyncio.sleep(0.005)
    times = [at for op, at in bench.store.calls if op == "claim"][10:-1]
    assert (times[-1] - times[0]) / (len(times) - 1) == pytest.approx(bench.policy.poll.min_s, rel=0.01)


async def test_half_of_the_shortest_poll_is_rest_however_slow_claims_are(bench: Bench) -> None:
    bench.store.delay_s["claim"] = 0.03
    async with bench.running():
        for _ in range(200):
            bench.store.commit()
            await asyncio.sleep(0.005)
    times = [at for op, at in bench.store.calls if op == "claim"][2:-1]
    rests = [later - earlier - 0.03 for earlier, later in itertools.pairwise(times)]
    assert min(rests) == pytest.approx(bench.policy.poll.min_s / 2, abs=0.001)


async def test_only_one_lane_asks_while_the_relay_is_idle(a_bench: MakeBench) -> None:
    bench = a_bench(lanes=8)
    async with bench.running():
        await asyncio.sleep(60)
    assert pytest.approx(bench.store.asked("claim"), abs=10) == 120


async def test_two_lanes_carry_at_once(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=5)
    bench.store.commit(n=20)
    bench.publisher.holding = True
    async with bench.running():
        await bench.until(lambda: bench.publisher.in_flight == 10)
        await asyncio.sleep(1)
        assert (bench.publisher.published, bench.observer.in_hand) == ([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]], 10)
        bench.publisher.let_go()
        await bench.until(lambda: len(bench.store.ids("sent")) == 20)
    assert bench.observer.in_hand == 0


async def test_the_mark_moves_past_rows_that_were_sent(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=10, lanes=1)
    bench.store.commit(n=40)
    await bench.drain()
    assert [low for _, low, _ in bench.store.claims][:5] == [0, 11, 21, 31, 41]


async def test_a_row_that_commits_late_is_found_within_the_rescan(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=10)
    bench.store.commit(n=100)
    del bench.store.rows[3]
    async with bench.running():
        await bench.until(lambda: len(bench.store.ids("sent")) == 99)
        await asyncio.sleep(60)
        bench.store.commit(id=3)
        bench.store.commit(id=200)
        await bench.until(lambda: bench.store.ids("pending") == [], within_s=bench.policy.rescan_s + 0.51)


async def test_a_row_is_not_published_before_it_is_due(bench: Bench) -> None:
    bench.store.commit(delay_s=30)
    async with bench.running():
        await bench.observer.seen("tick")
        assert 30 <= bench.elapsed_s <= 30 + bench.policy.rescan_s + 0.51


async def test_rows_among_many_that_are_delayed_are_claimed_promptly(bench: Bench) -> None:
    bench.store.scan_ids = 100
    bench.store.delay_s["claim"] = 0.001
    bench.store.commit(n=3000, delay_s=86400)
    async with bench.running():
        bench.store.commit()
        await bench.until(lambda: bench.store.ids("sent") == [3001], within_s=0.6)
        await asyncio.sleep(60)
        for number, row_id in enumerate((5, 2999, 1500), 1):  # as retries do
            bench.store.rows[row_id].available_at = bench.now()
            fresh, began = bench.store.commit(), bench.now()
            await bench.until(lambda: bench.store.ids("sent")[-1:] == fresh, within_s=0.6)  # noqa: B023
            await bench.until(lambda: len(bench.store.ids("sent")) == 1 + 2 * number, within_s=6)  # noqa: B023
            assert bench.now() - began <= bench.policy.rescan_s + 1
    lows = [low for _, low, _ in bench.store.claims]
    assert lows.count(0) > 10, "walks went on"
    assert sum(low > 3000 - 100 for low in lows) >= len(lows) // 2 - 40, "the mark has every second turn"


async def test_a_drain_looks_at_every_window_before_it_ends(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=7)
    bench.store.scan_ids = 10
    bench.store.commit(n=100, delay_s=3600)
    bench.store.commit(n=3)
    bench.store.commit(n=100, delay_s=3600)
    bench.store.rows[42].available_at = bench.now()
    await bench.drain()
    assert (bench.store.ids("sent"), bench.elapsed_s < 1) == ([42, 101, 102, 103], True)


async def test_a_drain_takes_a_row_that_was_given_back_behind_its_look(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=2)
    bench.store.scan_ids = 10
    bench.store.commit(n=2)
    bench.store.commit(n=100, delay_s=3600)
    bench.publisher.holding = True
    draining = asyncio.create_task(bench.drain())
    await bench.until(lambda: bench.publisher.in_flight == 2)
    bench.store.reply_s = 1.0
    await bench.until(lambda: bench.store.claims[-1][1] > 20)
    bench.publisher.holding = False
    bench.publisher.lose()
    bench.store.reply_s = 0.0
    await draining
    assert bench.store.ids("sent") == [1, 2]


async def test_a_drain_ends_when_no_row_is_due(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=7)
    bench.store.commit(n=50)
    bench.store.commit(delay_s=3600)
    await bench.drain()
    assert (bench.store.ids("pending"), bench.elapsed_s < 1) == ([51], True)


async def test_a_drain_of_an_empty_table_ends_at_once(bench: Bench) -> None:
    await bench.drain()
    assert bench.elapsed_s < 0.001


async def test_a_drain_does_not_end_while_another_lane_still_carries(bench: Bench) -> None:
    bench.store.commit(n=3)
    bench.publisher.holding = True
    draining = asyncio.create_task(bench.drain())
    await asyncio.sleep(20)
    assert not draining.done()
    bench.publisher.let_go()
    await draining
    assert bench.store.ids("sent") == [1, 2, 3]


async def test_a_drain_publishes_what_another_lane_gave_back_during_its_last_look(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=2)
    bench.store.commit(n=2)
    bench.publisher.holding = True
    draining = asyncio.create_task(bench.drain())
    await bench.until(lambda: bench.publisher.in_flight == 2)
    bench.store.reply_s = 1.0
    asked = bench.store.asked("claim")
    await bench.until(lambda: bench.store.asked("claim") > asked)
    bench.publisher.holding = False
    bench.publisher.lose()  # given back, and due, while the other lane's claim is on its way
    bench.store.reply_s = 0.0
    await draining
    assert bench.store.ids("sent") == [1, 2]


async def test_a_drain_waits_for_rows_that_are_owed_a_mark(bench: Bench) -> None:
    bench.store.commit(n=2)
    bench.store.fail_next("settle")
    await bench.drain()
    assert bench.store.ids("sent") == [1, 2]
    assert bench.publisher.rows() == [1, 2]


async def test_an_unexpected_exception_ends_the_run_with_it(bench: Bench) -> None:
    bench.store.bug = ZeroDivisionError("a bug")
    with pytest.raises(ExceptionGroup) as caught:
        await bench.engine.run()
    assert caught.group_contains(ZeroDivisionError, match="a bug")


async def test_the_loop_shows_that_it_turns_at_least_once_a_second(bench: Bench) -> None:
    async with bench.running():
        await asyncio.sleep(30)
        bench.publisher.fall()
        bench.store.commit()
        await asyncio.sleep(300)
        bench.publisher.down = None
        bench.publisher.holding = True
        await asyncio.sleep(100)
        bench.publisher.let_go()
    turned = bench.observer.turned_at
    assert max(later - earlier for earlier, later in itertools.pairwise(turned)) <= 1.001
