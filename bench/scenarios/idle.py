"""What relays cost when there is nothing to do."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bench import table
from bench.bars import Bar, at_most
from bench.figures import Spread
from bench.running import Running, naive_loop, relays
from bench.scenario import Found, Say, Scenario, Sizes, Table, Yard
from bench.stage import DATABASE, Stage

COPIES = (1, 2, 3, 4)
POLL_S = 0.5
"""As the relay's longest rest, by default."""
SHORTER = 2.0
"""Times as short as rows come steadily."""
NAIVE = "naive, polling as seldom"
SETTLE_S = 2.0
"""Until the poll has its longest rest."""
CORE_PERCENT_MAX = 1.0
STATEMENTS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class Rest:
    """What each of some relays used while nothing was to be done."""

    core_percent: float
    statements: float
    """Questions a second to the outbox."""
    words: float
    """All statements a second, the BEGIN, SETs and COMMIT that travel with each question counted one by one."""


def measure(stage: Stage, sizes: Sizes, _yard: Yard, say: Say) -> Found:
    """Watch one relay up to four, and a naive loop that polls as seldom, over an empty table."""
    with stage.connected() as connection:
        table.fill(connection, 1)
        table.send(connection, 1)
    stage.empty_queue()
    found: dict[str, list[Rest]] = {}
    for _ in range(sizes.runs):
        for copies in COPIES:
            with relays(stage, copies) as those:
                found.setdefault(_name(copies), []).append(_watch(stage, those, sizes.steady_s / SHORTER))
        with naive_loop(stage, POLL_S) as loop:
            found.setdefault(NAIVE, []).append(_watch(stage, [loop], sizes.steady_s / SHORTER))
        for name, rests in found.items():
            say(f"{name}: {rests[-1].core_percent:.2f} % of a core, {rests[-1].statements:.1f} statements/s each")
    figures = ("core_percent", "statements", "words")
    lines = tuple((name, *(f"{_median(rests, figure):.2f}" for figure in figures)) for name, rests in found.items())
    head = ("Idle", "% of a core, each", "statements/s, each", "the same with BEGIN, SET, COMMIT counted one by one")
    data = {name: [asdict(rest) for rest in rests] for name, rests in found.items()}
    return Found((Table("Nothing to do", head, lines),), bars(found), data)


def _name(copies: int) -> str:
    return f"{copies} relay{'s' * (copies > 1)}"


def _median(rests: Sequence[Rest], name: str) -> float:
    return Spread.of([getattr(rest, name) for rest in rests]).median


def _watch(stage: Stage, found: Sequence[Running], seconds: float) -> Rest:
    time.sleep(SETTLE_S)
    counted, before = stage.counted(DATABASE), [each.moment() for each in found]
    time.sleep(seconds)
    after = [each.moment() for each in found]
    every, plain, _ = (now - then for now, then in zip(stage.counted(DATABASE), counted, strict=True))
    lasted = sum(now.at - then.at for now, then in zip(after, before, strict=True))
    cpu_s = sum(now.cpu_s - then.cpu_s for now, then in zip(after, before, strict=True))
    return Rest(core_percent=100 * cpu_s / lasted, statements=plain / lasted, words=every / lasted)


def bars(found: Mapping[str, Sequence[Rest]]) -> tuple[Bar, ...]:
    """Hold one relay, and each of the most, to what they must reach."""
    made = []
    for name in (_name(COPIES[0]), _name(COPIES[-1])):
        core, statements = (_median(found[name], figure) for figure in ("core_percent", "statements"))
        made.append(at_most(f"{name}, idle: % of a core, each", CORE_PERCENT_MAX, core, 2))
        made.append(at_most(f"{name}, idle: statements a second, each", STATEMENTS_MAX, statements, 1))
    return tuple(made)


SCENARIO = Scenario("idle", "What does a relay cost that has nothing to do?", measure)
