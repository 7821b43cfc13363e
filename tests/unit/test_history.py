"""The hour that is kept: its rates, its bounds however often it is sampled, its peaks, and its outages."""

import itertools
from typing import Any

import pytest

from relay.model import Backlog
from relay.observe.history import HOUR_S, POINTS_MAX, History

WALL = 1_700_000_000.0


def a_backlog(*, pending: int = 0, age_s: float = 0.0, inserted: int = 0) -> Backlog:
    return Backlog(
        pending=pending,
        retrying=0,
        failed=0,
        capped=False,
        oldest_age_s=age_s,
        sampled_at=WALL,
        inserted=inserted,
    )


def points(history: History, now: float) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = history.told(now=now, wall=WALL)["points"]
    return told


def test_rates_are_the_growth_of_the_counts_since_the_point_before() -> None:
    history = History(10.0)
    history.sampled(a_backlog(pending=4, age_s=0.5, inserted=70_000), confirmed=1000, at=100.0)
    history.sampled(a_backlog(pending=7, age_s=1.5, inserted=70_250), confirmed=1080, at=110.0)

    first, second = points(history, now=112.0)

    assert (first["in_per_second"], first["out_per_second"]) == (None, None)
    assert second == {
        "at": "2023-11-14T22:13:18.000Z",
        "oldest_pending_age_seconds": 1.5,
        "pending": 7,
        "in_per_second": 25.0,
        "out_per_second": 8.0,
        "outage": None,
    }


def test_nothing_is_told_before_the_first_sample() -> None:
    assert History(10.0).told(now=1.0, wall=WALL) == {"every_seconds": 10.0, "points": []}


def test_a_counter_that_began_anew_is_no_negative_rate() -> None:
    history = History(10.0)
    for at, inserted in ((0.0, 5000), (10.0, 20), (20.0, 40)):
        history.sampled(a_backlog(inserted=inserted), confirmed=0, at=at)

    assert [each["in_per_second"] for each in points(history, now=20.0)] == [None, None, 2.0]


def test_the_moments_follow_the_clock_on_the_wall_when_that_is_set() -> None:
    history = History(10.0)
    history.sampled(a_backlog(), confirmed=0, at=50.0)

    assert history.told(now=60.0, wall=WALL)["points"][0]["at"] == "2023-11-14T22:13:10.000Z"
    assert history.told(now=60.0, wall=WALL + 3600)["points"][0]["at"] == "2023-11-14T23:13:10.000Z"


@pytest.mark.parametrize("sample_s", [1.0, 3.0, 10.0, 60.0, 3600.0])
def test_it_keeps_an_hour_and_no_more_points_than_the_bound(sample_s: float) -> None:
    history, at = History(sample_s), 0.0
    for jitter in itertools.cycle((0.9, 1.1, 0.95, 1.05)):
        history.sampled(a_backlog(inserted=int(20 * at)), confirmed=int(10 * at), at=at)
        assert len(history._points) <= POINTS_MAX
        if at > max(10 * sample_s, 3 * HOUR_S):
            break
        at += sample_s * jitter

    told = history.told(now=at, wall=at)
    spread = [each.at for each in history._points]
    assert at - HOUR_S - 2.2 * told["every_seconds"] <= spread[0] <= at - HOUR_S + 2.2 * told["every_seconds"]
    assert len(spread) >= min(POINTS_MAX / 2, HOUR_S / sample_s) - 2
    assert all(each["in_per_second"] == pytest.approx(20, abs=1.5) for each in told["points"][1:])
    assert all(each["out_per_second"] == pytest.approx(10, abs=1.5) for each in told["points"][1:])


def test_samples_of_the_default_spacing_are_each_a_point_of_their_own() -> None:
    history = History(10.0)
    for sample in range(360):
        history.sampled(a_backlog(), confirmed=0, at=sample * 10.0 + (sample % 2) * 0.9)

    told = history.told(now=3600.0, wall=WALL)
    assert (told["every_seconds"], len(told["points"])) == (10.0, 360)


def test_a_peak_is_not_thinned_out() -> None:
    history = History(1.0)
    for second in range(2 * POINTS_MAX):
        history.sampled(a_backlog(age_s=99.0 if second == 101 else 1.0), confirmed=0, at=float(second))

    told = history.told(now=2.0 * POINTS_MAX, wall=WALL)
    assert told["every_seconds"] > 1
    assert [each["oldest_pending_age_seconds"] for each in told["points"]].count(99.0) == 1


def test_an_outage_is_at_the_next_point_and_survives_thinning() -> None:
    history = History(1.0)
    for second in range(2 * POINTS_MAX):
        if second == 100:
            history.missed("broker")
        history.sampled(a_backlog(), confirmed=0, at=float(second))

    assert [each["outage"] for each in points(history, now=0.0)].count("broker") == 1
