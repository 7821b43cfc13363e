"""Whose turn it is when order is kept."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from relay.store.rounds import EACH_MAX, EACH_MIN, LOOK_MIN, Choice, Place, Round, Walk, asks, choose, orphans, told

LOWEST = 1


def a_place(row_id: int, place: int, *, free: bool = True) -> Place:
    """A row as a look sees it."""
    return Place(row_id, free, place, LOWEST)


def key(first: int, rows: int) -> list[Place]:
    """So many free rows of one key."""
    return [a_place(first + number, number + 1) for number in range(rows)]


def blocked(row_id: int) -> list[Place]:
    """A key whose first row waits or is in somebody's hands."""
    return [a_place(row_id, 1, free=False)]


def unkeyed(first: int, rows: int) -> list[Place]:
    """Free rows without a key."""
    return [a_place(first + number, 0) for number in range(rows)]


def keys(count: int) -> list[Place]:
    """So many keys with one free row each."""
    return [place for number in range(count) for place in key(number + 1, 1)]


def took(places: list[Place], rows: int = 100, seen: Round | None = None) -> tuple[Round, Choice]:
    """Choose now."""
    return choose(seen or Round(), places, rows)


def test_rows_of_every_key_are_taken_in_order_of_id() -> None:
    after, choice = took([*key(5, 2), *key(2, 1), *unkeyed(3, 1)])
    assert choice == Choice((2, 3, 5, 6), ((5, 6), (2,)), more=False)
    assert after.keys == after.unkeyed == Walk()


def test_a_blocked_key_gives_nothing_and_is_passed() -> None:
    _, choice = took([*blocked(1), *key(9, 1)])
    assert choice.ids == (9,)


def test_what_does_not_fit_comes_at_the_next_look_which_begins_behind_the_last_key_taken() -> None:
    after, choice = took(keys(3), rows=2)
    assert (choice.ids, choice.more, after.keys.after) == ((1, 2), True, 2)


def test_a_look_that_was_full_goes_on_where_it_ended_though_it_found_nothing() -> None:
    seen = [place for number in range(LOOK_MIN) for place in blocked(number + 1)]
    after, choice = took(seen, rows=1)
    assert (choice.ids, choice.more, after.keys) == ((), True, Walk(after=LOOK_MIN))
    after, choice = took([], seen=after)
    assert (choice.more, after.keys) == (False, Walk())


def test_a_round_that_took_something_on_its_way_is_begun_again_at_once() -> None:
    after, _ = took(keys(3), rows=2)
    after, choice = took(key(3, 1), seen=after)
    assert (choice.ids, choice.more, after.keys) == ((3,), True, Walk())


def test_half_of_a_claim_is_for_rows_without_a_key_when_there_are_both() -> None:
    places = [*keys(4), *unkeyed(11, 4)]
    assert took(places, rows=4)[1].ids == (1, 2, 11, 12)
    assert took(places, rows=1)[1].ids == (11,)
    assert took(places, rows=6)[1].ids == (1, 2, 3, 11, 12, 13)
    assert took(unkeyed(11, 3), rows=3)[1].ids == (11, 12, 13)


def test_more_of_each_key_is_taken_while_there_are_few_keys_and_fewer_when_there_are_many() -> None:
    seen = Round()
    for _ in range(10):
        seen, choice = took(key(1, seen.each), seen=seen)
        assert choice.more, "the key had more than was taken"
    assert seen.each == EACH_MAX
    for _ in range(10):
        seen, _ = took(keys(3), rows=2, seen=seen)
    assert seen.each == EACH_MIN


def looked(seen: Round, lowest: int) -> Round:
    """Look once, when no pending row has a smaller id."""
    return choose(seen, [a_place(lowest, 1)._replace(lowest=lowest)], 10)[0]


def test_the_low_mark_rises_when_who_wrote_at_the_look_before_is_done() -> None:
    seen = looked(told(looked(Round(), 7), {"3/1", "3/2"}, 0.0), 9)
    assert seen.low == 0
    seen = looked(told(seen, {"3/2", "3/8"}, 1.0), 10)
    assert seen.low == 0, "one of them may still commit a row before the seventh"
    seen = looked(told(seen, {"3/8", "3/9"}, 2.0), 11)
    assert (seen.low, seen.next_low) == (7, 11)
    assert looked(told(seen, (), 3.0), 12).low == 11


def test_the_low_mark_does_not_rise_above_what_a_late_transaction_has_left() -> None:
    seen = looked(told(looked(Round(), 7), {"3/1"}, 0.0), 9)
    assert looked(told(seen, (), 1.0), 5).low == 5


def test_a_prepared_transaction_has_another_name_than_before_and_holds_the_low_mark() -> None:
    seen = looked(told(looked(Round(), 7), {"3/1"}, 0.0), 9)
    seen = looked(told(seen, {"-1/800"}, 1.0), 9)
    assert seen.low == 0
    assert looked(told(seen, (), 2.0), 9).low == 7


def test_the_low_mark_does_not_rise_while_a_failed_row_may_come_back() -> None:
    seen = told(looked(Round(), 0), (), 0.0)
    assert looked(told(looked(seen, 9), (), 1.0), 0).low == 0


def test_who_writes_is_asked_once_a_second() -> None:
    seen = told(Round(), (), 5.0)
    assert [asks(seen, now) for now in (5.5, 6.0)] == [False, True]


def test_an_orphan_is_a_row_taken_without_the_one_before_it() -> None:
    choice = Choice((1, 2, 3, 4, 5), ((1, 3, 5), (2,)), more=False)
    assert orphans(choice, {1, 2, 3, 4}) == set()
    assert orphans(choice, {2, 3, 4, 5}) == {3, 5}
    assert orphans(choice, {1, 5}) == {5}


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), max_size=30), st.integers(1, 20))
def test_every_key_has_its_turn_whatever_the_size_of_a_claim(runs: list[tuple[int, int]], rows: int) -> None:
    """Rounds over a table that is drained: all free rows are taken, each key's in order, and then it says so."""
    table = {number * 10: list(range(number * 10, number * 10 + n)) for number, (n, _) in enumerate(runs, start=1)}
    shut = {number * 10 for number, (_, chance) in enumerate(runs, start=1) if chance == 0}
    seen, more = Round(), True
    for _ in range(200):
        looked = (
            place
            for name, left in sorted(table.items())
            if left and name > seen.keys.after // 10 * 10
            for place in (blocked(left[0]) if name in shut else key(left[0], min(len(left), seen.each)))
        )
        seen, choice = took(list(islice(looked, max(rows, LOOK_MIN))), rows, seen)
        assert len(choice.ids) <= rows
        for row_id in choice.ids:
            assert table[row_id // 10 * 10].pop(0) == row_id
        more = choice.more
        if not choice.ids and not more:
            break
    assert not more
    assert {name for name, left in table.items() if left} == shut
