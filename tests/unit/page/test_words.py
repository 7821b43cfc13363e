"""How numbers, times and texts from outside are written."""

import pytest

from relay.page.words import clock, duration, moment, plain, rate, size, times
from tests.statuses import NOW


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (12, "12 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (18_120, "5 h 2 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(None, "\N{EM DASH}"), (0, "0"), (0.25, "0.2"), (7.0, "7"), (99.94, "99.9"), (16_512.4, "16,512")],
)
def test_rates(per_second: float | None, text: str) -> None:
    assert rate(per_second) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (812_000_000, "774 MiB"), (5 * 2**40, "5.0 TiB")],
)
def test_sizes(number: float, text: str) -> None:
    assert size(number) == text


def test_times_tell_their_day_when_it_is_another() -> None:
    for text, told in (("2026-11-27T01:02:03Z", "01:02:03 UTC"), ("2026-11-26T23:59:59.9Z", "2026-11-26 23:59:59 UTC")):
        at = moment(text)
        assert at is not None
        assert clock(at, today=NOW) == told
    assert [moment(each) for each in (None, 7, "yesterday")] == [None, None, None]
    assert [times(each) for each in (1, "1", 2)] == ["once", "once", "2 times"]


def test_a_text_from_outside_is_one_printable_line() -> None:
    assert plain("a\x1b]0;title\x07b\r\nc\u202ed\x00 e") == "a ]0;title b c d e"
    assert plain("x" * 400) == "x" * 299 + "…"
    assert plain("größer 日本") == "größer 日本"
