"""The pictures: scales that fit, lines that break where nothing was sampled, grounds under outages."""

import re

import pytest

from relay.page.chart import HEIGHT, WIDTH, Line, age_top, chart, pieces, rate_top, window
from relay.page.reading import Point

AGE = Line("oldest", "age", lambda point: point.age_s, filled=True)
RATE = Line("in", "in", lambda point: point.in_rate)


def points(*told: tuple[float, float, float | None, bool]) -> list[Point]:
    return [Point(ago_s, age_s, 0, rate, None, outage) for ago_s, age_s, rate, outage in told]


@pytest.mark.parametrize(
    ("highest", "top"),
    [(0, 1), (1, 1), (1.1, 2), (61, 120), (3601, 7200), (172_800, 172_800), (172_801, 345_600), (5e6, 5_011_200)],
)
def test_a_scale_of_ages_ends_in_a_round_time_that_holds_them(highest: float, top: float) -> None:
    assert age_top(highest) == top


@pytest.mark.parametrize(("highest", "top"), [(0, 10), (10, 10), (11, 20), (333, 400), (999, 1000), (16_500, 20_000)])
def test_a_scale_of_rates_ends_in_a_round_number_that_holds_them(highest: float, top: float) -> None:
    assert rate_top(highest) == top


@pytest.mark.parametrize(
    ("oldest_s", "seconds"), [(0, 60), (60, 60), (61, 120), (121, 300), (3000, 3600), (4000, 3600)]
)
def test_a_young_history_fills_the_picture(oldest_s: float, seconds: int) -> None:
    assert window(points((oldest_s, 1, 1, False), (0, 1, 1, False))) == seconds
    assert window([]) == 60


def test_a_line_breaks_where_no_sample_was_taken_and_where_there_is_no_value() -> None:
    seen = points((90, 1, None, False), (80, 1, 5, False), (70, 1, 6, False), (30, 1, 7, False), (20, 1, 8, False))

    assert list(pieces(seen, RATE.value, 10)) == [[(80, 5), (70, 6)], [(30, 7), (20, 8)]]


def drawn(*told: tuple[float, float, float | None, bool], line: Line = AGE) -> str:
    return chart("Age", points(*told), (line,), every_s=10, ages=line is AGE)


def test_a_line_goes_from_the_left_to_now_and_from_the_bottom_to_the_top() -> None:
    [stroke] = re.findall(
        r'<path d="([^"]*)" class="stroke age"/>', drawn((120, 0, 0, False), (100, 2, 0, False), (0, 1, 0, False))
    )
    [ground, *_] = re.findall(r'<path d="([^"]*)" class="ground age"/>', drawn((20, 1, 0, False), (0, 1, 0, False)))

    assert stroke == f"M0 {HEIGHT}L166 0M{WIDTH} {HEIGHT // 2}L{WIDTH} {HEIGHT // 2}"
    assert ground.endswith(f"L{WIDTH} {HEIGHT}Z")


def test_what_is_older_than_the_picture_is_not_drawn_at_its_edge() -> None:
    hour = [(3600.0, 1.0, 1.0, False), (3595.0, 1.0, 1.0, False)]

    assert drawn((3700.0, 60.0, 1.0, True), *hour) == drawn(*hour)


def test_an_outage_has_a_ground_as_wide_as_it_was_long_and_a_word_in_the_legend() -> None:
    text = drawn(*((float(ago), 1.0, 0.0, 30 <= ago <= 50) for ago in range(120, -1, -10)))

    [[begin, width]] = re.findall(r'<rect x="(\d+)" y="0" width="(\d+)"', text)
    assert (int(begin), int(width)) == (500, 250)
    assert "a server was gone" in text
    assert "a server was gone" not in drawn((0, 1, 0, False))


def test_without_samples_there_is_a_picture_that_says_so() -> None:
    text = drawn(line=RATE)

    assert "No samples yet." in text
    assert "in: no samples yet" in text
    assert "<path" not in text
