"""Nothing costs the database more than it did: held in counters, which are the same on a busy machine."""

import asyncio
import json

import pytest

from tests.load import counters
from tests.load.counters import ACCEPT, BASELINE, SCENARIOS, Counters, moved

BEFORE: Counters = {"round_trips": 10.0, "commits": 4.0, "wal_bytes": 800_000.0, "hot_updates": 600.0}


@pytest.fixture(scope="module")
def measured() -> tuple[int, dict[str, Counters]]:
    """The server's version, and what every scenario costs now."""
    with counters.a_server() as server:
        return counters.version(server), asyncio.run(counters.found(server))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_counter_of_the_store_moves_unnoticed(measured: tuple[int, dict[str, Counters]], scenario: str) -> None:
    version, costs = measured
    baseline = json.loads(BASELINE.read_text(encoding="utf-8"))
    found = moved(baseline["counters"][scenario], costs[scenario], same_version=version == baseline["postgres"])
    assert not found, (
        f"What `{scenario}` costs the database is not what {BASELINE.name} says: {'; '.join(found)}. "
        f"If that is meant, run `{ACCEPT}`, commit the file, and say in the commit why."
    )


def test_an_idle_relay_writes_nothing(measured: tuple[int, dict[str, Counters]]) -> None:
    _, costs = measured
    assert (costs["polled"]["updates"], costs["polled"]["dead_tuples"]) == (0, 0)
    assert costs["polled"]["wal_bytes"] < 10


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"wal_bytes": 820_000.0, "hot_updates": 590.0}, []),
        ({"round_trips": 10.25}, ["round_trips: 10 -> 10.25 (may move by 0)"]),
        ({"commits": 3.0}, ["commits: 4 -> 3 (may move by 0)"]),
        ({"wal_bytes": 830_000.0}, ["wal_bytes: 800000 -> 830000 (may move by 24500)"]),
        ({"hot_updates": 0.0}, ["hot_updates: 600 -> 0 (may move by 12)"]),
    ],
)
def test_the_gate_names_what_moved_up_or_down(change: Counters, told: list[str]) -> None:
    assert moved(BEFORE, BEFORE | change, same_version=True) == told


def test_another_version_of_postgres_is_held_to_what_the_store_alone_decides() -> None:
    after = {"round_trips": 11.0, "commits": 4.0, "wal_bytes": 1.0, "hot_updates": 1.0}
    assert moved(BEFORE, after, same_version=False) == ["round_trips: 10 -> 11 (may move by 0)"]
