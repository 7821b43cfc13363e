"""A scenario of the bench, small, on its own servers."""

from collections.abc import Iterator

import pytest

from bench.figures import Spread
from bench.scenario import Sizes, Yard
from bench.scenarios import speed
from bench.stage import Stage

SIZES = Sizes(runs=1, rows=400)
YARD = Yard(Spread.of([1_000.0]), Spread.of([10_000.0]), Spread.of([20_000.0]))


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    try:
        made.prepare()
        yield made
    finally:
        made.close()


@pytest.mark.timeout(120)  # it starts two servers and six processes
def test_a_backlog_is_drained_by_all_and_told_beside_the_yardsticks(stage: Stage) -> None:
    told: list[str] = []
    found = speed.measure(stage, SIZES, YARD, told.append)
    assert [row[0] for row in found.tables[0].rows] == ["naive", "one relay", "two relays"]
    assert len(told) == 3
    assert len(found.bars) == 4
    assert all(run["rows"] == SIZES.rows for runs in found.data["runs"].values() for run in runs)
