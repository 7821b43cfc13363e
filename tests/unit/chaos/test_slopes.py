"""What rises is found out, and what merely wavers is not."""

import math
import random

import pytest

from chaos.slopes import RISES_MAX, SAMPLES_MIN, WARM_UP_S, WARM_UP_SHARE, Point, p99, rising, slope, table

MIB_MAX = RISES_MAX["rss_mib"]


WARM_S = 3600 * WARM_UP_SHARE


def hour(rise: float, *, noise: float = 0.0, warm_up: float = 0.0) -> list[Point]:
    """A sample every ten seconds of a figure that rises by that much in what of the hour is left after the warm-up."""
    chance = random.Random(1)
    times = range(0, 3601, 10)
    return [
        (at, 80.0 - warm_up)
        if at < WARM_S
        else (at, 80 + rise * (at - WARM_S) / (3600 - WARM_S) + noise * chance.uniform(-1, 1))
        for at in times
    ]


def test_a_rise_beyond_the_bound_is_told_with_its_figures() -> None:
    found = slope("relay 3", "rss_mib", hour(2 * MIB_MAX))
    assert found is not None
    assert found.rise == pytest.approx(2 * MIB_MAX)
    assert found.lasted_s == 3000
    assert found.word == "rises"
    assert rising([found]) == ["rss_mib of relay 3 rose by 16.0 in 50 minutes."]
    assert list(table([found]))[1].endswith("rises")


@pytest.mark.parametrize("points", [hour(0), hour(MIB_MAX / 2), hour(-50), hour(0, warm_up=60), hour(0, noise=40)])
def test_what_rises_by_less_or_only_while_it_warms_up_or_by_chance_is_level(points: list[Point]) -> None:
    found = slope("relay 3", "rss_mib", points)
    assert found is not None
    assert found.word == "level"
    assert rising([found]) == []


def test_a_rise_is_seen_through_noise() -> None:
    found = slope("relay 3", "rss_mib", hour(5 * MIB_MAX, noise=20))
    assert found is not None
    assert found.rises


def test_too_few_samples_say_nothing() -> None:
    assert slope("relay 1", "rss_mib", []) is None
    assert slope("relay 1", "rss_mib", hour(100)[: int(WARM_UP_S / 10) + SAMPLES_MIN - 1]) is None


def test_the_slowest_hundredth_is_that_of_the_time_between_two_looks() -> None:
    before = {0.01: 1000.0, 0.1: 1000.0, math.inf: 1000.0}
    assert p99(before, {0.01: 1099.0, 0.1: 1100.0, math.inf: 1100.0}) == 0.01
    assert p99(before, {0.01: 1098.0, 0.1: 1100.0, math.inf: 1100.0}) == 0.1
    assert p99(before, {0.01: 1000.0, 0.1: 1000.0, math.inf: 1001.0}) == math.inf
    assert p99({}, before) == 0.01
    assert p99(before, before) is None
