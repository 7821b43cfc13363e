"""How many rows a claim asks for."""

from relay.store.portion import CUT, Portion

LIMIT = 500


def test_a_claim_asks_for_all_it_may_take() -> None:
    assert Portion().of(LIMIT) == LIMIT


def test_a_claim_that_failed_asks_for_far_fewer_but_for_one() -> None:
    portion = Portion()
    sizes = []
    for _ in range(5):
        portion.failed(portion.of(LIMIT))
        sizes.append(portion.of(LIMIT))
    assert sizes == [LIMIT // CUT, LIMIT // CUT // CUT, 1, 1, 1]


def test_full_claims_grow_until_they_are_whole_again() -> None:
    portion = Portion()
    portion.failed(1)
    sizes = []
    while (asked := portion.of(LIMIT)) < LIMIT:
        portion.came(asked, LIMIT, taken=asked, candidates=asked)
        sizes.append(asked)
    assert sizes == [1, 2, 4, 8, 16, 32, 64, 128, 256]


def test_a_claim_that_found_few_rows_proves_nothing() -> None:
    portion = Portion()
    portion.failed(80)
    portion.came(10, LIMIT, taken=3, candidates=3)
    assert portion.of(LIMIT) == 10


def test_rows_that_fill_the_bytes_make_the_next_claim_ask_for_twice_as_many_as_went_in() -> None:
    portion = Portion()
    portion.came(LIMIT, LIMIT, taken=3, candidates=LIMIT)
    assert portion.of(LIMIT) == 6
