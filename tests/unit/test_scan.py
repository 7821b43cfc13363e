"""Where a claim begins to look."""

import pytest

from relay.scan import Scan, saw, start

BUSY = Scan(low=100, high=200, pending_low=150, pending_since=50.0, rescanned_at=50.0, untidy=True)


@pytest.mark.parametrize(
    ("scan", "idle", "now", "low"),
    [
        (Scan(), False, 0.0, 0),
        (BUSY, False, 54.9, 100),
        (BUSY, False, 55.0, 0),
        (BUSY, True, 51.0, 0),
        (Scan(low=100, rescanned_at=50.0, untidy=False), True, 51.0, 100),
        (Scan(low=100, rescanned_at=50.0, untidy=False), True, 55.0, 0),
    ],
)
def test_everything_is_looked_at_now_and_then_and_once_when_idle(scan: Scan, idle: bool, now: float, low: int) -> None:  # noqa: FBT001
    assert start(scan, idle=idle, now=now, rescan_s=5.0) == low


def test_in_a_backlog_the_mark_follows_each_batch() -> None:
    after = saw(BUSY, began=100, last_id=300, more=True, now=51.0)
    assert (after.low, after.high, after.untidy) == (301, 301, True)


def test_behind_a_batch_that_found_everything_the_mark_waits_for_late_commits() -> None:
    soon = saw(BUSY, began=100, last_id=250, more=False, now=50.9)
    assert (soon.low, soon.pending_low) == (100, 150)
    later = saw(soon, began=100, last_id=260, more=False, now=51.0)
    assert (later.low, later.pending_low, later.pending_since) == (150, 261, 51.0)


def test_an_empty_look_from_the_mark_does_not_make_it_tidy() -> None:
    assert saw(BUSY, began=100, last_id=None, more=False, now=50.5) == BUSY


def test_an_empty_look_from_zero_makes_it_tidy_and_puts_the_next_off() -> None:
    after = saw(BUSY, began=0, last_id=None, more=False, now=50.5)
    assert (after.untidy, after.rescanned_at) == (False, 50.5)


def test_a_low_row_never_lowers_what_was_the_highest() -> None:
    assert saw(BUSY, began=0, last_id=3, more=False, now=50.5).high == 200
