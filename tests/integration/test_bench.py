"""A scenario of the bench, small, on its own servers."""

from collections.abc import Iterator

import psycopg
import pytest

from bench import table
from bench.figures import Spread
from bench.scenario import Sizes, Yard
from bench.scenarios import order, speed
from bench.stage import Stage
from tests.builders import Database

SIZES = Sizes(runs=1, rows=400)
YARD = Yard(Spread.of([1_000.0]), Spread.of([10_000.0]), Spread.of([20_000.0]))


@pytest.mark.parametrize("shape", order.SHAPES, ids=lambda shape: shape.name)
async def test_rows_have_the_keys_that_their_order_is_judged_by(db: Database, shape: order.Shape) -> None:
    with psycopg.connect(db.url, autocommit=True) as connection:
        table.fill_with_keys(connection, 30, shape.key, 7)
    found = await db.fetch("SELECT id, key FROM outbox.message ORDER BY id")
    assert found == [(row_id, shape.key_of(row_id, 7)) for row_id in range(1, 31)]


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
