"""Order per key in the engine: one message of a key in flight, and none behind one that is still to come."""

import asyncio

import pytest

from relay.decide import RetryPolicy, holds_key, waves
from relay.model import Failed, Mark, Refusal, Refused, Release, Retry, Sent
from tests.doubles import Bench, Fate, a_row

SENT = Sent(1, "m")
REFUSED = Refused(Refusal.REJECTED, "full")


def test_a_wave_holds_each_key_once_in_the_order_of_the_rows() -> None:
    rows = [a_row(id=number, key=key) for number, key in enumerate(["a", "b", "a", None, "a", "b", None])]
    assert [[row.id for row in wave] for wave in waves(rows)] == [[0, 1, 3, 6], [2, 5], [4]]
    assert waves([]) == ()


@pytest.mark.parametrize(
    ("mark", "held", "held_if_failed_blocks"),
    [
        (SENT, False, False),
        (Failed(1, Refusal.INVALID, "why"), False, True),
        (Retry(1, Refusal.REJECTED, 1.0, "why"), True, True),
        (Release(1), True, True),
    ],
)
def test_a_key_is_held_until_its_row_is_sent_or_given_up(
    mark: Mark, *, held: bool, held_if_failed_blocks: bool
) -> None:
    keyed, loose = a_row(key="a"), a_row(key=None)
    assert holds_key(keyed, mark, failed_blocks_key=False) is held
    assert holds_key(keyed, mark, failed_blocks_key=True) is held_if_failed_blocks
    assert not holds_key(loose, mark, failed_blocks_key=True)


async def test_rows_of_one_key_are_published_one_after_the_other_and_those_of_others_beside_them() -> None:
    bench = Bench(ordered=True)
    ids = [bench.store.commit(key=key)[0] for key in ("a", "a", "b", "a")]
    await bench.engine.tick()
    assert bench.publisher.published == [[ids[0], ids[2]], [ids[1]], [ids[3]]]
    assert bench.store.ids("sent") == ids


async def test_nothing_of_a_key_follows_a_row_that_was_refused() -> None:
    bench = Bench(ordered=True)
    first, second, other = (bench.store.commit(key=key)[0] for key in ("a", "a", "b"))
    bench.publisher.next[first].append(REFUSED)
    report = await bench.engine.tick()
    assert bench.publisher.published == [[first, other]]
    assert (report.retried, report.released) == (1, 1)
    assert bench.store.rows[second].claims == 0, "it was given back as if never claimed"
    async with bench.running():
        await bench.until(lambda: len(bench.store.ids("sent")) == 3)
    assert bench.publisher.rows() == [first, other, first, second]


async def test_a_row_given_up_lets_its_key_go_on_unless_that_is_forbidden() -> None:
    for blocks in (False, True):
        bench = Bench(ordered=True, failed_blocks_key=blocks)
        bad, good = bench.store.commit(key="a", headers="[]")[0], bench.store.commit(key="a")[0]
        await bench.drain()
        assert bench.store.statuses() == {bad: "failed", good: "pending" if blocks else "sent"}


async def test_without_order_a_batch_goes_out_at_once_whatever_its_keys() -> None:
    bench = Bench()
    ids = bench.store.commit(n=3, key="a")
    await bench.engine.tick()
    assert bench.publisher.published == [ids]


async def test_a_row_that_a_closed_channel_left_unknown_is_sent_before_the_next_of_its_key() -> None:
    bench = Bench(ordered=True)
    first, beside, second = (bench.store.commit(key=key)[0] for key in ("a", "b", "a"))
    bench.publisher.next[first].append(Fate.CLOSE_CHANNEL)
    await bench.engine.tick()
    assert bench.publisher.published == [[first, beside], [first], [beside], [second]]
    assert bench.store.ids("sent") == [first, beside, second]


async def test_an_outage_in_the_midst_of_the_waves_gives_the_rest_back_untouched() -> None:
    bench = Bench(ordered=True)
    first, second, third = bench.store.commit(n=3, key="a")
    bench.publisher.next[second].append(Fate.LOSE_CONNECTION)
    await bench.engine.tick()
    assert bench.publisher.published == [[first], [second]]
    assert bench.store.statuses() == {first: "sent", second: "pending", third: "pending"}
    assert bench.store.rows[third].claims == 0
    await bench.drain()
    assert bench.publisher.rows() == [first, second, second, third]


async def test_a_lease_lost_between_two_waves_holds_the_key() -> None:
    bench = Bench(ordered=True, lease_s=10.0)
    first, second, third = bench.store.commit(n=3, key="a")
    bench.publisher.confirm_s = 6.0
    bench.publisher.on_publish = lambda _: bench.store.overtake(second)
    await bench.engine.tick()
    assert bench.publisher.published == [[first]], "asked in the midst of the first, the lease has not the second"
    assert bench.store.statuses() == {first: "sent", second: "pending", third: "pending"}


async def test_a_row_given_up_after_another_relay_took_it_holds_the_key() -> None:
    """The mark changes nothing then, and the other may yet send the row."""
    bench = Bench(ordered=True, retry=RetryPolicy(max_failures=1))
    first, second = bench.store.commit(n=2, key="a")
    bench.publisher.next[first].append(REFUSED)
    bench.publisher.on_publish = lambda _: bench.store.overtake(first)
    await bench.engine.tick()
    assert bench.publisher.published == [[first]]
    assert bench.store.statuses() == {first: "pending", second: "pending"}


async def test_a_row_given_up_holds_the_key_until_that_is_written() -> None:
    bench = Bench(ordered=True, retry=RetryPolicy(max_failures=1))
    first, second = bench.store.commit(n=2, key="a")
    bench.publisher.next[first].append(REFUSED)
    bench.store.fail_next("settle")
    await bench.engine.tick()
    assert bench.publisher.published == [[first]]
    await bench.drain()
    assert bench.store.statuses() == {first: "failed", second: "sent"}


async def test_marks_of_many_small_waves_are_written_together_and_soon() -> None:
    """A key alone makes waves of one row: a transaction for each would cost as much as the publish."""
    bench = Bench(ordered=True)
    ids = bench.store.commit(n=40, key="a")
    bench.publisher.confirm_s = 0.01
    await bench.engine.tick()
    assert bench.publisher.published == [[row_id] for row_id in ids]
    assert bench.store.ids("sent") == ids
    assert 4 <= bench.store.asked("settle") <= 6, "0.4 s of publishing, a tenth of a second each"


async def test_marks_that_wait_for_the_next_wave_are_not_forgotten_when_the_relay_is_cut_short() -> None:
    bench = Bench(ordered=True)
    first, second, third = bench.store.commit(n=3, key="a")
    bench.publisher.confirm_s = 0.01
    bench.publisher.always[second] = Fate.SILENCE
    task = asyncio.create_task(bench.engine.tick())
    await bench.until(lambda: bench.publisher.published == [[first], [second]])
    task.cancel()
    await asyncio.wait({task})
    assert bench.store.statuses() == {first: "sent", second: "pending", third: "pending"}
