"""Leases: lengthened while a publish is unresolved, and never overstepped."""

import asyncio
from collections.abc import Callable

from relay.model import Doubt, Fault
from tests.doubles import Bench, Fate

MakeBench = Callable[..., Bench]


async def test_the_lease_is_renewed_while_a_publish_is_unresolved(a_bench: MakeBench) -> None:
    bench = a_bench(lease_s=10)
    bench.store.commit(n=3)
    bench.publisher.holding = True
    async with bench.running():
        await asyncio.sleep(29)
        assert (bench.store.leased(), bench.store.asked("renew")) == ([1, 2, 3], 5)
        bench.publisher.let_go()
        await bench.until(lambda: bench.store.ids("sent") == [1, 2, 3])
    assert (bench.publisher.rows(), bench.observer.overtaken) == ([1, 2, 3], [])


async def test_only_rows_without_an_outcome_are_renewed(a_bench: MakeBench) -> None:
    bench = a_bench(lease_s=10)
    bench.store.commit(n=3)
    bench.publisher.next[2].append(Fate.SILENCE)
    async with bench.running():
        await asyncio.sleep(20)
        assert bench.store.leased() == [2]
        bench.publisher.let_go()


async def test_a_row_overtaken_in_flight_is_told_once_and_may_be_a_duplicate(a_bench: MakeBench) -> None:
    bench = a_bench(lease_s=10)
    bench.store.commit(n=2)
    bench.publisher.holding = True
    async with bench.running():
        await bench.until(lambda: bench.publisher.in_flight == 2)
        bench.store.overtake(2)
        await asyncio.sleep(20)
        bench.publisher.let_go()
        await bench.observer.seen("tick")
    assert (bench.observer.overtaken, bench.observer.reports[0].doubts) == ([2], {Doubt.LEASE_LOST: 1})
    assert bench.store.ids("sent") == [1, 2]


async def test_a_mark_that_another_relay_overtook_is_told(bench: Bench) -> None:
    bench.store.commit(n=2)
    bench.publisher.holding = True
    async with bench.running():
        await bench.until(lambda: bench.publisher.in_flight == 2)
        bench.store.overtake(2)
        bench.publisher.lose()
        await bench.observer.seen("lease_lost")
        bench.publisher.let_go()
        assert (bench.observer.overtaken, bench.store.leased()) == ([2], [2])


async def test_past_half_of_the_lease_only_rows_that_are_still_ours_are_published(a_bench: MakeBench) -> None:
    bench = a_bench(lease_s=10)
    bench.store.commit(n=3)
    bench.store.delay_s["claim"] = 6
    bench.store.on_call = lambda op: bench.store.overtake(2) if op == "renew" else None
    async with bench.running():
        await bench.observer.seen("tick")
        assert (bench.publisher.published, bench.observer.overtaken) == ([[1, 3]], [2])
        assert bench.observer.reports[0].outcomes == {"confirmed": 2, "unreachable": 1}
        assert bench.observer.reports[0].doubts == {}
        assert bench.store.leased() == [2]


async def test_nothing_is_published_past_half_of_a_lease_that_cannot_be_renewed(a_bench: MakeBench) -> None:
    bench = a_bench(lease_s=10)
    bench.store.commit(n=3)
    bench.store.delay_s["claim"] = 6
    bench.store.fail_next("renew")
    async with bench.running():
        await bench.observer.seen("unsettled")
        assert bench.publisher.published == []
        bench.store.delay_s["claim"] = 0
        await bench.until(lambda: len(bench.store.ids("sent")) == 3)
    assert {stored.claims for stored in bench.store.rows.values()} == {1}


async def test_a_renewal_that_failed_does_not_open_the_way_for_the_next_row(a_bench: MakeBench) -> None:
    """The rows of a quarantine are published one by one: each of them needs its own right to be."""
    bench = a_bench(lease_s=10)
    bench.store.commit(n=3)
    bench.publisher.next[1].append(Fate.SILENCE)
    bench.publisher.next[2].append(Fate.SILENCE)
    bench.publisher.next[3].append(Fate.SILENCE)
    async with bench.running():
        await bench.until(lambda: bench.elapsed_s > 4.9)
        bench.store.down = Fault.LOST
        await bench.observer.seen("database Outage")
        bench.publisher.close_channels()
        await bench.observer.seen("tick")
        assert bench.publisher.published == [[1, 2, 3]]
        bench.store.down = None
        await bench.until(lambda: len(bench.store.ids("sent")) == 3)


async def test_a_database_lost_in_flight_is_asked_again_to_renew(a_bench: MakeBench) -> None:
    bench = a_bench(lease_s=20)
    bench.store.commit(n=3)
    bench.publisher.holding = True
    async with bench.running():
        await asyncio.sleep(9)
        bench.store.down = Fault.LOST
        await asyncio.sleep(4)
        assert 3 <= bench.store.asked("renew") <= 5
        bench.store.down = None
        await asyncio.sleep(10)
        assert bench.store.leased() == [1, 2, 3]
        bench.publisher.let_go()
