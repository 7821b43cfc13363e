"""Rows that may kill the process: alone, with nothing else in hand, and not for ever."""

from collections.abc import Callable, Sequence

import pytest

from relay.model import Doubt, Envelope, Refusal
from tests.doubles import Bench

MakeBench = Callable[..., Bench]


async def test_a_suspect_is_published_with_nothing_else_in_hand(bench: Bench) -> None:
    bench.store.commit(n=5)
    bench.store.commit(claims=3)
    bench.store.commit(n=5)
    in_hand: dict[tuple[int, ...], list[int]] = {}

    def look(sent: Sequence[Envelope]) -> None:
        in_hand[tuple(envelope.row_id for envelope in sent)] = bench.store.leased()

    bench.publisher.on_publish = look
    await bench.drain()
    assert in_hand[(6,)] == [6]
    assert bench.store.ids("sent") == list(range(1, 12))
    assert {row_id: stored.claims for row_id, stored in bench.store.rows.items()} == {
        row_id: 4 if row_id == 6 else 1 for row_id in range(1, 12)
    }


async def test_a_suspect_waits_for_the_hands_of_every_other_lane(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=5, lanes=3)
    bench.store.commit(n=5)
    bench.store.commit(claims=3)
    bench.store.commit(n=4)
    bench.publisher.holding = True
    async with bench.running():
        await bench.until(lambda: bench.publisher.in_flight == 5)
        await bench.until(lambda: bench.elapsed_s > 5)
        assert (bench.publisher.published, bench.store.leased()) == ([[1, 2, 3, 4, 5]], [1, 2, 3, 4, 5])
        assert bench.store.rows[6].claims == 3, "it is not in hand when a row of another lane kills the relay"
        bench.publisher.let_go()
        await bench.until(lambda: len(bench.store.ids("sent")) == 10)
    assert bench.publisher.published[:2] == [[1, 2, 3, 4, 5], [6]]


async def test_a_row_that_was_in_hand_alone_when_three_relays_died_fails_and_is_never_published(bench: Bench) -> None:
    bench.store.commit()
    bench.store.commit(claims=6)
    await bench.drain()
    assert (bench.publisher.rows(), bench.store.rows[2].reason) == ([1], Refusal.CRASH_LOOP)
    assert bench.store.rows[2].last_error == "crash_loop: the relay died 6 times with this row in hand"


@pytest.mark.parametrize("claims", [4, 5])
async def test_a_row_that_a_relay_or_two_died_with_by_chance_is_published_alone(bench: Bench, claims: int) -> None:
    bench.store.commit()
    bench.store.commit(claims=claims)
    await bench.drain()
    assert [2] in bench.publisher.published
    assert bench.store.ids("sent") == [1, 2]


async def test_many_suspects_among_others_are_all_published_soon_and_each_alone(bench: Bench) -> None:
    for number in range(60):
        bench.store.commit(claims=3 * (number % 2))
    async with bench.running():
        await bench.until(lambda: len(bench.store.ids("sent")) == 60)
        assert bench.elapsed_s < 5
    assert all([row_id] in bench.publisher.published for row_id in range(2, 61, 2))


@pytest.mark.parametrize("claims", [1, 2])
async def test_a_row_in_hand_when_a_relay_died_may_be_a_duplicate_but_is_no_suspect(bench: Bench, claims: int) -> None:
    bench.store.commit(n=2)
    bench.store.commit(claims=claims)
    await bench.drain()
    assert bench.publisher.published == [[1, 2, 3]]
    assert bench.observer.reports[0].doubts == {Doubt.RELAY_DIED: 1}


async def test_a_row_given_back_unpublished_is_not_counted_as_a_duplicate(bench: Bench) -> None:
    bench.store.commit(claims=1)
    bench.store.commit(claims=3)
    await bench.drain()
    assert [dict(report.doubts) for report in bench.observer.reports] == [{Doubt.RELAY_DIED: 1}] * 2


async def test_suspects_at_the_head_of_a_backlog_are_taken_one_by_one_before_the_rest(a_bench: MakeBench) -> None:
    bench = a_bench(batch_size=10)
    bench.store.commit(n=5, claims=3)
    bench.store.commit(n=50)
    await bench.drain()
    assert bench.publisher.published[:5] == [[1], [2], [3], [4], [5]]
    assert [rows for _, _, rows in bench.store.claims][:6] == [[1], [2], [3], [4], [5], list(range(6, 16))]
