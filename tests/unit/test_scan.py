"""Where a claim begins to look."""

from dataclasses import replace

import pytest

from relay.scan import WALK_SHARE, Look, Scan, Sight, Sweep, rest_s, saw, start, swept

BUSY = Scan(low=100, high=200, pending_low=150, pending_since=50.0, rescanned_at=50.0, untidy=True)
TIDY = replace(BUSY, untidy=False)
WALKING = replace(BUSY, walk=40, walk_at=52.0)
NOTHING = Sight(None, more=False, beyond=None)


def took(last_id: int, *, more: bool = False, beyond: int | None = None) -> Sight:
    """A claim that found rows."""
    return Sight(last_id, more, beyond)


def passed(beyond: int, took_s: float = 0.0) -> Sight:
    """A claim in whose window nothing was due."""
    return Sight(None, more=False, beyond=beyond, took_s=took_s)


@pytest.mark.parametrize(
    ("scan", "idle", "now", "look"),
    [
        (Scan(), False, 0.0, Look(0)),
        (BUSY, False, 54.9, Look(100)),
        (BUSY, False, 55.0, Look(0, walks=True)),
        (BUSY, True, 51.0, Look(0, walks=True)),
        (TIDY, True, 51.0, Look(100)),
        (TIDY, True, 55.0, Look(0, walks=True)),
        (WALKING, False, 51.9, Look(100)),
        (WALKING, False, 52.0, Look(40, walks=True)),
        (replace(WALKING, stepped=True), False, 52.0, Look(100)),
    ],
)
def test_everything_is_looked_at_now_and_then_and_once_when_idle(
    scan: Scan, *, idle: bool, now: float, look: Look
) -> None:
    assert start(scan, idle=idle, now=now, rescan_s=5.0) == look


def test_in_a_backlog_the_mark_follows_each_batch() -> None:
    after = saw(BUSY, Look(100), took(300, more=True, beyond=20_100), now=51.0)
    assert (after.low, after.high, after.untidy) == (301, 301, True)


def test_the_mark_passes_by_a_window_in_which_nothing_is_due() -> None:
    assert saw(BUSY, Look(100), passed(25_000), now=51.0).low == 25_000
    assert saw(BUSY, Look(100), took(120, beyond=25_000), now=51.0).low == 25_000


def test_behind_a_batch_that_found_everything_the_mark_waits_for_late_commits() -> None:
    soon = saw(BUSY, Look(100), took(250), now=50.9)
    assert (soon.low, soon.pending_low) == (100, 150)
    later = saw(soon, Look(100), took(260), now=51.0)
    assert (later.low, later.pending_low, later.pending_since) == (150, 261, 51.0)


def test_an_empty_look_from_the_mark_does_not_make_it_tidy() -> None:
    assert saw(BUSY, Look(100), NOTHING, now=50.5) == BUSY


def test_a_walk_that_found_nothing_makes_it_tidy_and_puts_the_next_off() -> None:
    after = saw(BUSY, Look(0, walks=True), passed(100), now=50.5)
    assert (after.untidy, after.rescanned_at, after.walk, after.low) == (False, 50.5, None, 100)


def test_a_row_found_on_a_walk_asks_for_another() -> None:
    assert saw(TIDY, Look(0, walks=True), took(3), now=50.5).untidy


def test_a_walk_goes_on_behind_its_window_when_it_has_rested_in_proportion() -> None:
    after = saw(BUSY, Look(0, walks=True), passed(40, took_s=0.01), now=50.5)
    assert (after.walk, after.low, after.rescanned_at) == (40, 100, 50.0)
    assert after.walk_at - 50.5 == pytest.approx(0.01 / WALK_SHARE - 0.01)


def test_a_walk_goes_on_at_once_while_it_finds_full_batches_and_the_mark_stays() -> None:
    after = saw(BUSY, Look(0, walks=True), took(30, more=True, beyond=20_000), now=50.5)
    assert (after.walk, after.walk_at, after.low) == (31, 50.5, 100)


def test_a_step_of_a_walk_is_followed_by_a_claim_from_the_mark_at_once() -> None:
    after = saw(BUSY, Look(0, walks=True), passed(40, took_s=0.01), now=50.5)
    assert rest_s(after, 0.5, now=50.5) == 0.0
    assert rest_s(saw(after, Look(100), NOTHING, now=50.5), 0.5, now=50.5) == pytest.approx(0.09)
    assert rest_s(BUSY, 0.5, now=50.5) == 0.5


def test_a_low_row_never_lowers_what_was_the_highest() -> None:
    assert saw(BUSY, Look(0), took(3), now=50.5).high == 200


def test_a_look_from_zero_that_saw_only_a_part_puts_no_walk_off() -> None:
    assert saw(BUSY, Look(0), passed(40), now=50.5).rescanned_at == 50.0
    assert saw(BUSY, Look(0), passed(100), now=50.5).rescanned_at == 50.5


# -- a sweep ----------------------------------------------------------------------------------------------------


def swept_over(*looks: tuple[int, Sight, bool], probing: bool = False) -> Sweep:
    """What is known after claims that began there."""
    sweep = Sweep()
    for low, sight, quiet in looks:
        sweep = swept(sweep, Look(low), sight, quiet=quiet, probing=probing)
    return sweep


def test_a_sweep_is_whole_when_every_window_from_zero_on_held_nothing() -> None:
    assert swept_over((0, NOTHING, True)) == Sweep(clean=True, quiet=True, whole=True)
    assert swept_over((0, passed(20), True)) == Sweep(20, clean=True, quiet=True)
    assert swept_over((0, passed(20), True), (20, NOTHING, True)).whole


def test_a_sweep_is_not_quiet_when_a_batch_was_carried_beside_any_part_of_it() -> None:
    for quiet in [(True, False), (False, True)]:
        after = swept_over((0, passed(20), quiet[0]), (20, NOTHING, quiet[1]))
        assert (after.whole, after.quiet) == (True, False)


def test_a_row_makes_a_sweep_begin_again() -> None:
    assert swept_over((0, passed(20), True), (20, took(25), True)) == Sweep()


def test_after_the_row_of_a_probe_the_next_is_asked_and_what_is_before_it_later() -> None:
    after = swept_over((0, took(7, more=True), True), probing=True)
    assert after == Sweep(8)
    rest = swept(after, Look(8), NOTHING, quiet=True, probing=True)
    assert (rest.at, rest.whole) == (0, False)


def test_a_claim_from_elsewhere_makes_a_sweep_begin_again() -> None:
    assert swept_over((0, passed(20), True), (500, NOTHING, True)) == Sweep()


def test_looks_that_met_blocked_keys_only_leave_the_database_alone_most_of_the_time() -> None:
    fruitless = Sight(None, more=True, beyond=None, took_s=0.01)
    scan = saw(Scan(low=7), Look(7), fruitless, now=100.0)
    assert rest_s(scan, 0.0, now=100.0) == pytest.approx(0.09)
    assert rest_s(scan, 0.5, now=100.1) == 0.5, "and then it is over"
    fruitful = saw(Scan(low=7), Look(7), Sight(9, more=True, beyond=None, took_s=0.01), now=100.0)
    assert rest_s(fruitful, 0.0, now=100.0) == 0.0
