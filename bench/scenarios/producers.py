"""What the doorbell costs producers."""

from bench import doorbell
from bench.bars import Bar, at_least
from bench.scenario import Found, Say, Scenario, Sizes, Table, Yard
from bench.stage import Stage

SHARE_MIN = 0.8
"""Of the inserts without a trigger, under many clients: what a relay that lets go of the bell leaves."""
SHORTER = 3.0
"""Times as short as rows come steadily."""


def measure(stage: Stage, sizes: Sizes, _yard: Yard, say: Say) -> Found:
    """Insert a row a transaction, without a trigger, with a plain NOTIFY, and with the doorbell, in turns."""
    rates: list[doorbell.Rate] = []
    for rate in doorbell.measure(stage.postgres, runs=sizes.runs, seconds=max(1, round(sizes.steady_s / SHORTER))):
        rates.append(rate)
        say(f"{rate.way}, {rate.clients} clients: {rate.inserts_s:,.0f} inserts/s")
    return Found((_table(rates),), bars(rates), dict(doorbell.as_document(rates)))


def _table(rates: list[doorbell.Rate]) -> Table:
    head = [f"{clients} client{'s' * (clients > 1)}" for clients in doorbell.CLIENTS]
    rows = []
    for way in doorbell.WAYS:
        cells: list[str] = []
        for clients in doorbell.CLIENTS:
            cells += (f"{doorbell.median(rates, way, clients):,.0f}", f"{_share(rates, way, clients):.0%}")
        rows.append((way, *cells))
    names = (name for each in head for name in (each, f"of no trigger, {each}"))
    return Table("Inserts a second", ("", *names), tuple(rows))


def _share(rates: list[doorbell.Rate], way: str, clients: int) -> float:
    return doorbell.median(rates, way, clients) / doorbell.median(rates, doorbell.BARE, clients)


def bars(rates: list[doorbell.Rate]) -> tuple[Bar, ...]:
    """Hold the doorbell that nobody holds, under the most clients, to what must be left."""
    most = max(doorbell.CLIENTS)
    what = f"{doorbell.FREE}, {most} clients: inserts, share of those without a trigger"
    return (at_least(what, SHARE_MIN, _share(rates, doorbell.FREE, most), 2),)


SCENARIO = Scenario("producers", "What does the doorbell cost those who insert?", measure)
