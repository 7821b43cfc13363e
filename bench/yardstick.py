"""What every figure is compared with, measured in the same run: the naive loop, and each server alone."""

from bench import table
from bench.ceilings import broker_rate, database_rate
from bench.drains import drained
from bench.figures import Spread
from bench.scenario import Found, Say, Sizes, Table, Yard
from bench.stage import Stage


def measure(stage: Stage, sizes: Sizes, say: Say) -> tuple[Yard, Found]:
    """Measure the yardsticks; the first drain warms the servers up and is not counted."""
    rows = sizes.rows // 2
    drained(stage, "naive", rows // 4)
    with stage.connected() as connection:
        body_bytes = round(table.body_bytes(connection))
    naive, broker, postgres = [], [], []
    for _ in range(sizes.runs):
        naive.append(drained(stage, "naive", rows).rate)
        broker.append(broker_rate(stage, rows, body_bytes))
        postgres.append(database_rate(stage, rows))
        say(f"naive {naive[-1]:,.0f}/s, broker alone {broker[-1]:,.0f}/s, Postgres alone {postgres[-1]:,.0f}/s")
    yard = Yard(Spread.of(naive), Spread.of(broker), Spread.of(postgres))
    return yard, Found((_table(yard, body_bytes),), data={"naive": naive, "broker": broker, "postgres": postgres})


def _table(yard: Yard, body_bytes: int) -> Table:
    spreads = {
        "the naive loop": yard.naive,
        "RabbitMQ alone, fed encoded frames": yard.broker,
        "Postgres alone, claims and marks": yard.postgres,
    }
    return Table(
        f"Yardsticks, {body_bytes} bytes a message",
        ("Rows or messages a second", "Median", "Least", "Most"),
        tuple((name, *(f"{each:,.0f}" for each in (s.median, s.least, s.most))) for name, s in spreads.items()),
    )
