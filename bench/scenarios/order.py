"""Order per key: how fast it is, with one relay or several, and that it holds."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

from bench import consumer, runs, table
from bench.bars import Bar, at_most
from bench.drains import Order, drain
from bench.figures import Run, disorder
from bench.running import running
from bench.scenario import Found, Say, Scenario, Sizes, Yard
from bench.stage import QUEUE, Stage

COPIES = (1, 2, 4)
READ_S = 300.0
HOT = "hot"


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows get their keys."""

    name: str
    key: LiteralString
    """In SQL, of the row's number `n` and the number of keys `$2`."""
    key_of: Callable[[int, int], str | None]
    """The same here."""
    fewer: int = 1
    """Times as few rows: they take as much longer."""


SHAPES = (
    Shape("uniform keys", "'k' || n % $2", lambda n, keys: f"k{n % keys}"),
    Shape(
        "half of the rows in one key",
        "CASE WHEN n % 2 = 0 THEN 'hot' ELSE 'k' || n % $2 END",
        lambda n, keys: f"k{n % keys}" if n % 2 else HOT,
        fewer=10,
    ),
    Shape("no keys", "NULL::text || $2", lambda _n, _keys: None),
)


def measure(stage: Stage, sizes: Sizes, yard: Yard, say: Say) -> Found:
    """Drain rows of each shape without order by one relay, with it by one and several, and read what arrived."""
    groups: dict[str, list[Run]] = {}
    wrong: dict[str, int] = {}
    with stage.database("bench_order", ("migrate", "up", "ordering")) as database:
        for _ in range(sizes.runs):
            for shape in SHAPES:
                for ordering, copies in (("none", 1), *(("key", copies) for copies in COPIES)):
                    name = f"{shape.name}, {copies} relay{'s' * (copies > 1)}" + " without order" * (ordering == "none")
                    order = Order(database=database, copies=copies, settings={"ORDERING": ordering})
                    run, arrived = _run(stage, shape, sizes, order)
                    groups.setdefault(name, []).append(run)
                    found = disorder(arrived, [shape.key_of(row_id, sizes.keys) for row_id in arrived])
                    if ordering == "key" and any(shape.key_of(row_id, sizes.keys) for row_id in arrived):
                        wrong[name] = wrong.get(name, 0) + found
                    say(f"{name}: {found} out of order, {runs.told(run)}")
    title = f"{sizes.keyed_rows:,} rows, {sizes.keys:,} keys; where half have one key a tenth as many"
    return Found((runs.table(title, groups, yard),), bars(wrong), {"runs": runs.kept(groups), "disorder": wrong})


def _run(stage: Stage, shape: Shape, sizes: Sizes, order: Order) -> tuple[Run, Sequence[int]]:
    """Drain, and read the queue from its head."""
    with stage.connected(order.database) as connection:
        table.fill_with_keys(connection, sizes.keyed_rows // shape.fewer, shape.key, sizes.keys)
    run = drain(stage, order)
    listen = {
        consumer.URL_VARIABLE: stage.rabbitmq.url(),
        consumer.QUEUE_VARIABLE: QUEUE,
        consumer.ROWS_VARIABLE: str(run.rows),
    }
    with running((sys.executable, "-m", "bench.consumer"), listen) as reader:
        arrived = reader.wait_for("consumer.done", READ_S)["at"]
    return run, [int(row_id) for row_id in arrived]


def bars(wrong: Mapping[str, int]) -> tuple[Bar, ...]:
    """Allow no message before an earlier one of its key."""
    return tuple(at_most(f"{name}: messages out of order", 0, found) for name, found in wrong.items())


SCENARIO = Scenario("order", "How fast is order per key, and does it hold?", measure)
