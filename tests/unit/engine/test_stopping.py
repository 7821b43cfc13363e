"""Stopping: what is in hand is finished; cancelled, it is given back."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from relay.model import Fault
from tests.doubles import Bench, Fate

MakeBench = Callable[..., Bench]


async def test_a_stop_finishes_what_is_in_hand_and_claims_no_more(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=5)
    bench.store.commit(n=50)
    bench.publisher.confirm_s = 3
    async with bench.running() as task:
        await bench.until(lambda: bench.publisher.in_flight == 10)
        bench.engine.stop()
        await task
        assert (bench.store.ids("sent"), bench.store.leased()) == (list(range(1, 11)), [])
        assert (len(bench.publisher.published), bench.observer.in_hand) == (2, 0)


async def test_a_stop_ends_the_rest_of_an_outage_at_once(bench: Bench) -> None:
    bench.publisher.fall()
    async with bench.running() as task:
        await asyncio.sleep(100)
        bench.engine.stop()
        before = bench.now()
        await task
        assert bench.now() - before < 0.001


async def test_a_stop_before_the_run_ends_it_before_it_claims(bench: Bench) -> None:
    bench.store.commit()
    bench.engine.stop()
    await bench.engine.run()
    assert bench.store.calls == []


async def test_a_stop_while_the_servers_are_asked_claims_no_more(bench: Bench) -> None:
    bench.store.commit()
    bench.store.delay_s["ready"] = 1
    async with bench.running() as task:
        await asyncio.sleep(0.5)
        bench.engine.stop()
        await task
        assert (bench.store.asked("claim"), bench.store.leased()) == (0, [])


async def test_a_stop_waits_for_marks_the_database_does_not_take_yet(bench: Bench) -> None:
    bench.store.commit(n=3)
    bench.store.on_call = lambda op: setattr(bench.store, "down", Fault.LOST) if op == "settle" else None
    async with bench.running() as task:
        await bench.observer.seen("unsettled")
        bench.engine.stop()
        await asyncio.sleep(10)
        assert not task.done()
        bench.store.on_call = lambda _: None
        bench.store.down = None
        await task
        assert bench.store.ids("sent") == [1, 2, 3]


async def test_a_cancel_gives_back_the_rows_in_flight_and_notes_that_they_may_have_arrived(bench: Bench) -> None:
    bench.store.commit(n=3)
    bench.publisher.next[2].append(Fate.SILENCE)
    async with bench.running() as task:
        await bench.until(lambda: bench.store.ids("sent") == [1, 3])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (bench.store.leased(), bench.store.rows[2].claims, bench.publisher.in_flight) == ([], 0, 0)
        assert bench.store.rows[2].last_error == "stopped before its confirm"


async def test_a_cancel_during_a_mark_writes_it_all_the_same(bench: Bench) -> None:
    bench.store.commit(n=3)
    bench.store.delay_s["settle"] = 5
    async with bench.running() as task:
        await bench.until(lambda: bench.store.asked("settle"))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert bench.store.ids("sent") == [1, 2, 3]


async def test_a_cancel_gives_back_what_flies_while_a_suspect_waits_for_the_hands_of_others(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=2)
    bench.store.commit(n=2)
    bench.store.commit(claims=3)
    bench.publisher.holding = True
    async with bench.running() as task:
        await bench.until(lambda: bench.publisher.in_flight == 2 and bench.store.asked("settle"))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert (bench.store.leased(), bench.publisher.published) == ([], [[1, 2]])
        assert [bench.store.rows[row_id].claims for row_id in (1, 2, 3)] == [0, 0, 3]


async def test_rows_given_back_unpublished_at_a_cancel_carry_no_doubt(bench: Bench) -> None:
    bench.store.commit(n=2)
    bench.store.commit(headers="[]")
    bench.store.delay_s["settle"] = 5
    async with bench.running() as task:
        await bench.until(lambda: bench.store.asked("settle"))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert bench.publisher.published == []
        assert [stored.last_error for stored in bench.store.rows.values()][:2] == [None, None]
        assert bench.store.ids("failed") == [3]


async def test_a_cancel_while_a_mark_is_owed_tries_once_more_to_write_it(bench: Bench) -> None:
    bench.store.commit(n=3)
    bench.store.fail_next("settle")
    async with bench.running() as task:
        await bench.observer.seen("unsettled")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert bench.store.ids("sent") == [1, 2, 3]


async def test_a_cancel_asks_a_database_once_that_does_not_take_what_is_given_back(bench: Bench) -> None:
    bench.store.commit(n=3)
    bench.publisher.holding = True
    async with bench.running() as task:
        await bench.until(lambda: bench.publisher.in_flight == 3)
        bench.store.down = Fault.LOST
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert bench.store.asked("settle") == 1


async def test_a_cancel_in_an_outage_of_the_database_asks_once_whether_it_is_over(bench: Bench) -> None:
    bench.store.commit(n=3)
    bench.publisher.next[3].append(Fate.SILENCE)
    bench.store.fail_next("settle")
    async with bench.running() as task:
        await bench.observer.seen("unsettled")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert (bench.store.ids("sent"), bench.store.leased()) == ([1, 2], [])
