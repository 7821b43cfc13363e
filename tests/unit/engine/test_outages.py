"""What the engine does while a server is gone, and how it comes back."""

import asyncio
import itertools
from collections.abc import Callable

import pytest

from relay.model import Doubt, Fault, Refusal, Refused
from relay.outage import Flowing, OutagePolicy, Probing
from tests.doubles import Bench, Fate

MakeBench = Callable[..., Bench]


async def test_nothing_is_claimed_while_the_broker_is_gone(bench: Bench) -> None:
    bench.publisher.fall()
    bench.store.commit(n=10)
    async with bench.running():
        await asyncio.sleep(3600)
        assert (bench.store.asked("claim"), bench.publisher.published) == (0, [])
        assert {(stored.claims, stored.failures) for stored in bench.store.rows.values()} == {(0, 0)}


async def test_the_broker_is_asked_less_and_less_often(bench: Bench) -> None:
    bench.publisher.fall()
    async with bench.running():
        await asyncio.sleep(600)
    asked = bench.publisher.asked_at
    rests = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert all(rest <= 30 for rest in rests)
    assert all(ceiling / 2 <= rest <= ceiling for rest, ceiling in zip(rests, (1, 2, 4, 8, 16, 30, 30), strict=False))


async def test_a_probe_is_one_real_row_with_its_confirm(bench: Bench) -> None:
    bench.publisher.fall()
    bench.store.commit(n=5)
    async with bench.running():
        await bench.observer.seen("broker Outage")
        bench.publisher.down = None
        bench.publisher.holding = True
        await bench.until(lambda: bench.publisher.in_flight)
        await asyncio.sleep(10)
        assert (bench.publisher.published, bench.observer.path("broker")) == ([[1]], ["Outage", "Probing"])
        assert bench.observer.in_hand == 1
        bench.publisher.let_go()
        await bench.observer.seen("broker Flowing")


async def test_a_row_that_ends_every_connection_does_not_hold_up_the_others(bench: Bench) -> None:
    bench.publisher.always[1] = Fate.LOSE_CONNECTION
    bench.store.commit(n=5)
    async with bench.running():
        await bench.until(lambda: len(bench.store.ids("sent")) == 4)
    assert bench.store.ids("pending") == [1]
    assert bench.store.rows[1].failures == 0


async def test_a_blocked_broker_is_probed_by_one_row_as_its_connection_proves_nothing(bench: Bench) -> None:
    bench.publisher.fall(Fault.BLOCKED)
    bench.store.commit(n=5)
    async with bench.running():
        await bench.observer.seen("broker Outage", 4)
        assert bench.publisher.published == [[1, 2, 3, 4, 5], [1], [2], [3]]
        await bench.until(lambda: not bench.store.leased())
        assert [(stored.claims, stored.failures) for stored in bench.store.rows.values()] == [(0, 0)] * 5
        assert all(stored.last_error for stored in bench.store.rows.values()), "each may have arrived"
        bench.publisher.down = None
        await bench.until(lambda: len(bench.store.ids("sent")) == 5)


async def test_a_probe_that_is_never_confirmed_keeps_the_outage(bench: Bench) -> None:
    bench.publisher.fall()
    bench.store.commit(n=5)
    async with bench.running():
        await bench.observer.seen("broker Outage")
        bench.publisher.down = None
        bench.publisher.holding = True
        await bench.observer.seen("broker Outage", 3)
        assert bench.publisher.published == [[1], [2]]
        changes = [after for _, _, after in bench.observer.changes if not isinstance(after, Flowing)]
        assert {round(change.since - bench.began_at, 3) for change in changes} == {0.0}
        assert bench.store.rows[1].failures == 0


async def test_without_a_row_a_connection_ends_the_probe_and_the_state_says_so(bench: Bench) -> None:
    bench.publisher.fall()
    async with bench.running():
        await bench.observer.seen("broker Outage")
        bench.publisher.down = None
        await bench.observer.seen("broker Flowing")
        assert bench.engine.servers.states["broker"] == Flowing(limit=1, proven=False)
        bench.store.commit()
        await bench.observer.seen("tick")
        assert bench.engine.servers.states["broker"] == Flowing(limit=10)


async def test_the_flow_widens_by_ten_until_it_is_full(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=500, lanes=4)
    bench.publisher.fall()
    bench.store.commit(n=2000)
    async with bench.running():
        await bench.observer.seen("broker Outage")
        bench.publisher.down = None
        await bench.until(lambda: len(bench.store.ids("sent")) == 2000)
    assert [limit for limit, _, _ in bench.store.claims][:6] == [1, 1, 10, 100, 500, 500]


async def test_one_lane_works_alone_until_the_flow_is_full(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=500, lanes=4)
    bench.publisher.confirm_s = 0.1
    bench.publisher.fall()
    bench.store.commit(n=2000)
    async with bench.running():
        await bench.observer.seen("broker Outage")
        bench.publisher.down = None
        await bench.until(lambda: len(bench.store.ids("sent")) == 2000)
    assert bench.publisher.beside[:4] == [(1, 0), (1, 0), (10, 0), (100, 0)]
    assert (500, 500) in bench.publisher.beside


@pytest.mark.parametrize("reason", [Refusal.UNROUTABLE, Refusal.REJECTED])
async def test_refusals_end_a_probe_and_widen_the_flow(bench: Bench, reason: Refusal) -> None:
    """Else a backlog that begins with many bad rows would be walked one by one."""
    bench.store.commit(n=300)
    bench.publisher.always = {row_id: Refused(reason, "no") for row_id in range(1, 301)}
    bench.publisher.fall()
    async with bench.running():
        await bench.observer.seen("broker Outage")
        bench.publisher.down = None
        await bench.observer.seen("tick", 5)
    assert [len(rows) for _, _, rows in bench.store.claims][:5] == [1, 1, 10, 100, 188]


async def test_rows_the_relay_refuses_itself_prove_a_connection_only(bench: Bench) -> None:
    bench.store.commit(n=3, headers="[]")
    bench.publisher.fall()
    async with bench.running():
        await bench.observer.seen("broker Outage")
        bench.publisher.down = None
        await bench.observer.seen("tick", 3)
        assert bench.engine.servers.states["broker"] == Flowing(limit=1, proven=False)


async def test_a_batch_claimed_when_the_outage_opened_goes_back_unpublished(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=5)
    bench.store.commit(n=10)
    bench.store.delay_s["claim"] = 0.1
    bench.publisher.holding = True

    async with bench.running():
        await bench.until(lambda: bench.publisher.in_flight == 5)
        bench.publisher.fall()
        await bench.observer.seen("broker Outage")
        await bench.observer.seen("tick", 2)
        assert (bench.publisher.published, bench.store.leased()) == ([[1, 2, 3, 4, 5]], [])
        assert {stored.claims for stored in bench.store.rows.values()} == {0}
    assert sum(sum(report.doubts.values()) for report in bench.observer.reports) == 5


async def test_a_silent_broker_opens_an_outage_and_its_rows_may_be_duplicates(bench: Bench) -> None:
    bench.store.commit(n=3)
    bench.publisher.holding = True
    async with bench.running():
        await bench.observer.seen("broker Outage")
        assert bench.elapsed_s == pytest.approx(30, abs=1)
        bench.publisher.holding = False
        await bench.until(lambda: len(bench.store.ids("sent")) == 3)
    assert bench.observer.reports[0].doubts == {Doubt.CONFIRM_TIMEOUT: 3}


async def test_an_outage_of_an_hour_costs_no_row_an_attempt(bench: Bench) -> None:
    bench.store.commit(n=100)
    bench.publisher.holding = True
    async with bench.running():
        await bench.until(lambda: bench.publisher.in_flight)
        bench.publisher.fall()
        await asyncio.sleep(3600)
        bench.publisher.down = None
        bench.publisher.let_go()
        await bench.until(lambda: len(bench.store.ids("sent")) == 100, within_s=60)
    assert {(stored.claims, stored.failures) for stored in bench.store.rows.values()} == {(1, 0)}


async def test_the_observer_is_told_of_each_change_once(bench: Bench) -> None:
    bench.store.commit(n=50)
    bench.publisher.next[10].append(Fate.LOSE_CONNECTION)
    async with bench.running():
        await bench.until(lambda: len(bench.store.ids("sent")) == 50)
    assert bench.observer.path("broker") == ["Outage", "Probing", *["Flowing"] * 4]
    assert bench.observer.path("database") == []


async def test_nothing_is_asked_of_a_database_that_is_gone_before_its_rest_is_over(bench: Bench) -> None:
    bench.store.down = Fault.UNREACHABLE
    async with bench.running():
        await asyncio.sleep(600)
    assert bench.store.asked("ready") <= 40
    assert bench.store.asked("claim") == 0


async def test_the_relay_starts_without_either_server_and_recovers_by_itself(bench: Bench) -> None:
    bench.store.commit(n=20)
    bench.store.down = Fault.REFUSED
    bench.publisher.fall(Fault.AUTH)
    async with bench.running():
        await asyncio.sleep(120)
        faults = [getattr(bench.engine.servers.states[side], "fault", None) for side in ("database", "broker")]
        assert faults == [Fault.REFUSED, Fault.AUTH]
        bench.store.down = None
        await bench.observer.seen("database Flowing")
        assert not isinstance(bench.engine.servers.states["broker"], Flowing)
        bench.publisher.down = None
        await bench.until(lambda: len(bench.store.ids("sent")) == 20)


async def test_the_broker_is_seen_to_be_back_although_the_database_is_gone(bench: Bench) -> None:
    bench.store.down = Fault.REFUSED
    bench.publisher.fall()
    async with bench.running():
        await asyncio.sleep(60)
        bench.publisher.down = None
        await bench.observer.seen("broker Flowing")
        assert bench.engine.servers.states["broker"] == Flowing(limit=1, proven=False)
        assert not isinstance(bench.engine.servers.states["database"], Flowing)


async def test_a_claim_that_fails_opens_an_outage_of_the_database_alone(bench: Bench) -> None:
    bench.store.fail_next("claim")
    bench.store.commit(n=3)
    await bench.drain()
    assert bench.observer.path("database")[:3] == ["Outage", "Probing", "Flowing"]
    assert bench.observer.path("broker") == []


async def test_a_drain_does_not_take_an_outage_met_during_the_questions_for_an_empty_table(bench: Bench) -> None:
    bench.store.commit(n=2)

    def meet_an_outage() -> None:
        if len(bench.publisher.asked_at) == 1:
            bench.engine.servers.failed("broker", Fault.LOST, "another lane met it")

    bench.publisher.on_ready = meet_an_outage
    await bench.drain()
    assert bench.store.ids("sent") == [1, 2]


async def test_confirmed_rows_whose_mark_was_lost_are_marked_later_and_never_published_again(bench: Bench) -> None:
    bench.store.commit(n=10)
    bench.store.on_call = lambda op: setattr(bench.store, "down", Fault.LOST) if op == "settle" else None
    async with bench.running():
        await bench.observer.seen("unsettled")
        bench.store.on_call = lambda _: None
        await asyncio.sleep(300)  # far beyond the lease: another relay would publish them, this one must not
        assert bench.publisher.published == [list(range(1, 11))]
        bench.store.down = None
        await bench.until(lambda: len(bench.store.ids("sent")) == 10)
        await asyncio.sleep(30)
    assert bench.publisher.rows() == list(range(1, 11))


@pytest.mark.parametrize("after", [True, False], ids=["reply lost", "not written"])
async def test_a_release_that_is_owed_is_paid_before_the_next_claim(bench: Bench, after: bool) -> None:  # noqa: FBT001
    bench.store.commit(n=3)
    bench.publisher.next[1].append(Fate.LOSE_CONNECTION)
    bench.store.fail_next("settle", after=after)
    async with bench.running():
        await bench.until(lambda: len(bench.store.ids("sent")) == 3)
    asked = [op for op, _ in bench.store.calls if op in {"claim", "settle"}]
    assert asked[:4] == ["claim", "settle", "settle", "claim"]
    assert {stored.claims for stored in bench.store.rows.values()} == {1}


async def test_what_is_owed_is_paid_although_the_broker_is_gone(bench: Bench) -> None:
    bench.store.commit(n=3)
    bench.publisher.next[2].append(Fate.LOSE_CONNECTION)
    bench.store.on_call = lambda op: bench.publisher.fall() if op == "settle" else None
    bench.store.fail_next("settle")
    async with bench.running():
        await bench.until(lambda: bench.store.ids("sent") == [1], within_s=60)
        await bench.until(lambda: bench.store.leased() == [], within_s=60)
        assert not isinstance(bench.engine.servers.states["broker"], Flowing)


async def test_what_cannot_be_paid_keeps_the_outage(bench: Bench) -> None:
    bench.store.commit(n=3)
    bench.publisher.next[2].append(Fate.LOSE_CONNECTION)
    for _ in range(3):
        bench.store.fail_next("settle")
    async with bench.running():
        await bench.until(lambda: len(bench.store.ids("sent")) == 3)
    states = [after for side, _, after in bench.observer.changes if side == "database"]
    assert [state.probes for state in states if isinstance(state, Probing)] == [1, 2, 3]
    assert bench.observer.unsettled_marks == [(3, Fault.LOST)]


async def test_a_policy_rules_the_rest(a_bench: MakeBench) -> None:
    bench = a_bench(outage=OutagePolicy(first_s=5, max_s=5))
    bench.publisher.fall()
    async with bench.running():
        await asyncio.sleep(100)
    assert 20 <= len(bench.publisher.asked_at) <= 41
