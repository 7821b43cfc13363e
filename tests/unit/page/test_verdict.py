"""The state in one word, and the six numbers: what they say of flows, outages, peaks and caps."""

from collections.abc import Sequence
from typing import Any

import pytest

from relay.page.reading import Point, Reading, Tone, read
from relay.page.verdict import Number, as_of, empty, mean, numbers, verdict
from tests import statuses
from tests.statuses import status


def seen(**changes: Any) -> Reading:
    return read(status(**changes))


def number(label: str, **changes: Any) -> Number:
    [found] = [each for each in numbers(seen(**changes)) if each.label == label]
    return found


def backlog(**changes: Any) -> dict[str, Any]:
    return {"backlog": statuses.backlog(**changes)}


# -- the state ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sides", "word", "tone"),
    [
        ({}, "Flowing", Tone.GOOD),
        ({"broker": statuses.gone()}, "Outage", Tone.BAD),
        ({"database": statuses.gone(state="probing")}, "Outage", Tone.BAD),
        ({"broker": statuses.flowing(state="starting")}, "Starting", Tone.WARN),
        ({"broker": statuses.flowing(state="recovering", limit=10)}, "Recovering", Tone.WARN),
        ({"broker": statuses.gone(), "database": statuses.flowing(state="starting")}, "Outage", Tone.BAD),
        ({"broker": statuses.gone(), "live": False}, "Stuck", Tone.BAD),
        ({"broker": statuses.flowing(state="a new word")}, "Unknown", Tone.WARN),
    ],
)
def test_the_worse_side_decides(sides: dict[str, Any], word: str, tone: Tone) -> None:
    says = verdict(seen(**sides))

    assert (says.word, says.tone) == (word, tone)


def test_it_flows_since_the_later_of_both_began_to_flow() -> None:
    says = verdict(seen(broker=statuses.flowing(since=statuses.iso(20)), database=statuses.flowing()))

    assert says.since is not None
    assert (statuses.NOW - says.since).total_seconds() == 20


def test_an_outage_of_both_is_as_old_as_the_first_and_names_both_reasons() -> None:
    database = statuses.gone(since=statuses.iso(900), reason="lost", detail="gone", probes=1)
    says = verdict(seen(broker=statuses.gone(detail="no"), database=database))

    assert says.since is not None
    assert (statuses.NOW - says.since).total_seconds() == 900
    assert "Postgres and RabbitMQ cannot be used" in says.sentence
    assert says.why == "Postgres: lost: gone / RabbitMQ: refused: no"


def test_the_ramp_is_told_with_its_limit() -> None:
    assert "now 10 rows a claim" in verdict(seen(broker=statuses.flowing(state="recovering", limit=10))).sentence
    assert "now 1 row a claim" in verdict(seen(broker=statuses.flowing(state="recovering", limit=1))).sentence


# -- numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_s", "value", "unit", "tone"),
    [
        (0.0, "0.0", "s", Tone.PLAIN),
        (59.0, "59", "s", Tone.PLAIN),
        (60.0, "1", "min", Tone.WARN),
        (301.0, "5 min 1 s", "", Tone.BAD),
        (90_000.0, "1 d 1 h", "", Tone.BAD),
    ],
)
def test_the_age_is_coloured_when_it_is_late(age_s: float, value: str, unit: str, tone: Tone) -> None:
    found = number("Oldest row", **backlog(oldest_pending_age_seconds=age_s))

    assert (found.value, found.unit, found.tone) == (value, unit, tone)


def test_a_capped_count_says_that_it_is_the_least() -> None:
    assert number("Waiting", **backlog(pending=10_000, capped=True)).value == "≥ 10,000"
    assert number("Waiting", **backlog(blocked_keys=4)).note == "3 to be retried, 4 keys blocked"
    assert number("Waiting", **backlog(retrying=0)).note == "none to be retried"


def test_failed_rows_ask_for_a_person() -> None:
    assert number("Failed", **backlog(failed=0)).tone is Tone.PLAIN
    assert number("Failed", **backlog(failed=1)).tone is Tone.WARN


def test_the_rates_are_means_of_the_newest_ten_seconds() -> None:
    assert mean([(14.0, 1000.0), (12.0, 10.0), (6.0, 20.0), (2.0, 60.0)]) == 30
    assert mean([(900.0, 7.0)]) == 7
    assert mean([(10.0, 5.0), (0.0, None)]) == 5
    assert mean([(0.0, None)]) is None
    assert mean([]) is None


def waits(pendings: Sequence[int], ages_s: Sequence[float] = (), *, capped: bool = False) -> Number:
    """Time to empty, with a sample every 30 s."""
    ages_s = ages_s or [100.0] * len(pendings)
    points = [
        Point(ago_s=30.0 * (len(pendings) - 1 - place), age_s=age_s, pending=rows, in_rate=1, out_rate=1, outage=False)
        for place, (rows, age_s) in enumerate(zip(pendings, ages_s, strict=True))
    ]
    told = statuses.backlog(pending=pendings[-1], oldest_pending_age_seconds=ages_s[-1], capped=capped)
    found = read(status(backlog=told)).backlog
    assert found is not None
    return empty(found, points)


def test_the_time_to_empty_is_what_waits_by_the_pace_of_two_minutes() -> None:
    found = waits([90_000, 7000, 6000, 5000, 4000, 3000])

    assert (found.value, found.unit, found.note) == ("1 min 30 s", "", "at the pace of the last 2 min")


def test_beyond_the_cap_it_is_told_by_the_age_of_the_oldest() -> None:
    found = waits([10_000] * 5, [900.0, 840.0, 780.0, 720.0, 660.0], capped=True)

    assert found.value == "5 min 30 s"


def test_what_does_not_shrink_is_never_empty() -> None:
    assert waits([100, 200, 300]).value == "never"
    assert waits([10_000] * 3, [60.0, 90.0, 120.0], capped=True).tone is Tone.WARN


def test_little_that_waits_is_not_a_backlog() -> None:
    assert waits([3, 20, 30], [0.1, 0.2, 0.1]).value == "now"
    assert waits([3, 20, 0]).value == "empty"


def test_from_one_sample_nothing_is_foretold() -> None:
    assert waits([100]).value == "\N{EM DASH}"
    assert waits([100, 70]).value == "1 min 10 s"


# -- how old they are ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every_s", "ago_s", "old"), [(10, 24, False), (10, 26, True), (1, 14, False), (60, 149, False)]
)
def test_numbers_are_old_when_samples_did_not_come(every_s: float, ago_s: float, old: bool) -> None:  # noqa: FBT001 -- a column
    history = {"every_seconds": every_s, "points": statuses.points(5, every_s=every_s, ago_s=ago_s)}
    found = seen(history=history)

    assert found.stale is old
    assert bool(as_of(found)) is old
