"""The schedule is a function of its seed, deals every fault, and never lets two break the same thing at once."""

from collections import Counter
from itertools import combinations

import pytest

from chaos.harms import EFFECTS
from chaos.schedule import (
    CALM_AFTER,
    CALM_S,
    EVERY,
    QUIET_S,
    SHOP,
    TRAITS,
    WARM_UP_S,
    Aim,
    Harm,
    Stroke,
    names,
    schedule,
    targets,
)

SEEDS = range(15)


def together(strokes: tuple[Stroke, ...]) -> list[tuple[Stroke, Stroke]]:
    """The pairs that are at work at one time."""
    pairs = combinations(sorted(strokes), 2)
    return [(one, other) for one, other in pairs if other.at_s < one.free_at_s]


@pytest.mark.parametrize("minutes", [0.5, 3, 60])
def test_the_same_seed_draws_the_same_schedule_and_another_seed_another(minutes: float) -> None:
    assert schedule(7, minutes) == schedule(7, minutes)
    assert minutes < 1 or schedule(7, minutes) != schedule(8, minutes)


@pytest.mark.parametrize("seed", SEEDS)
def test_three_minutes_have_room_for_every_fault(seed: int) -> None:
    assert {stroke.harm for stroke in schedule(seed, 3)} == set(Harm)


def test_an_hour_has_every_fault_many_times_and_about_equally_often() -> None:
    drawn = Counter(stroke.harm for stroke in schedule(42, 60))
    assert set(drawn) == set(Harm)
    assert min(drawn.values()) >= 25
    assert max(drawn.values()) - min(drawn.values()) <= 1


@pytest.mark.parametrize("seed", SEEDS)
def test_no_two_faults_break_the_same_thing_at_once_and_never_more_than_two_lie_together(seed: int) -> None:
    strokes = schedule(seed, 10)
    pairs = together(strokes)
    assert pairs, "some lie together"
    for one, other in pairs:
        assert TRAITS[one.harm].holds != TRAITS[other.harm].holds, (one, other)
    for stroke in strokes:
        assert len([other for other in strokes if other.at_s <= stroke.at_s < other.free_at_s]) <= 2


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_come_after_a_warm_up_and_are_over_before_the_quiet_end(seed: int) -> None:
    strokes = schedule(seed, 3)
    assert min(stroke.at_s for stroke in strokes) >= WARM_UP_S
    assert max(stroke.free_at_s for stroke in strokes) <= 3 * 60 - QUIET_S


@pytest.mark.parametrize("seed", SEEDS)
def test_after_every_ten_faults_there_is_a_calm(seed: int) -> None:
    strokes = schedule(seed, 10)
    for number in range(CALM_AFTER, len(strokes), CALM_AFTER):
        before = max(stroke.free_at_s for stroke in strokes[:number])
        assert strokes[number].at_s - before >= CALM_S - 0.01


@pytest.mark.parametrize("relays", [1, 2, 4])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_stroke_is_one_its_fault_allows(seed: int, relays: int) -> None:
    for stroke in schedule(seed, 10, relays):
        trait = TRAITS[stroke.harm]
        assert stroke.target in targets(trait.aim, names(relays))
        assert trait.lasts_s[0] - 0.01 <= stroke.lasts_s <= trait.lasts_s[1] + 0.01


def test_a_run_too_short_for_a_fault_has_none_of_it() -> None:
    assert schedule(1, QUIET_S / 60) == ()
    assert Harm.RELAY_PAUSE not in {stroke.harm for seed in SEEDS for stroke in schedule(seed, 0.7)}


def test_every_fault_can_be_made() -> None:
    assert set(EFFECTS) == set(TRAITS) == set(Harm)


def test_the_last_relay_is_never_ended_unless_it_is_alone_and_the_shop_is_nobodys_relay() -> None:
    assert targets(Aim.MORTAL, names(4)) == ("1", "2", "3")
    assert targets(Aim.MORTAL, names(1)) == targets(Aim.RELAY, names(1)) == ("1",)
    assert set(targets(Aim.LINK_OR_SHOP, names(2))) == {"1", "2", EVERY, SHOP}
