"""How fast one process is, and whether two together are slower."""

from bench import runs
from bench.bars import Bar, at_least, at_most
from bench.drains import drained
from bench.figures import Run, Spread, order, ratios, spread
from bench.scenario import Found, Say, Scenario, Sizes, Yard
from bench.stage import Stage

RATE_MIN = 15_000.0
RATIO_MIN = 3.0
CPU_US_MAX = 20.0
TOGETHER_MIN = 1.0


def measure(stage: Stage, sizes: Sizes, yard: Yard, say: Say) -> Found:
    """Drain the same backlog by the naive loop, one relay and two, in turns."""
    drained(stage, "relay", sizes.rows // 20)
    one: list[Run] = []
    for who in order(sizes.runs, None):
        one.append(drained(stage, who, sizes.rows))
        say(f"{who}: {runs.told(one[-1])}")
    two: list[Run] = []
    alone: list[Run] = []
    for _ in range(sizes.runs):
        alone.append(drained(stage, "relay", sizes.rows))
        two.append(drained(stage, "relay", sizes.rows, copies=2))
        say(f"two relays: {runs.told(two[-1])}, after one at {alone[-1].rate:,.0f}")
    relay = [run for run in one if run.who == "relay"] + alone
    groups = {"naive": [run for run in one if run.who == "naive"], "one relay": relay, "two relays": two}
    return Found(
        (runs.table(f"{sizes.rows:,} rows, preloaded and vacuumed", groups, yard),),
        bars(one, alone, two),
        {"runs": runs.kept(groups), "ratios": ratios(one)},
    )


def bars(one: list[Run], alone: list[Run], two: list[Run]) -> tuple[Bar, ...]:
    """Hold the medians to what they must reach; the pairs ran side by side."""
    relay = [run for run in one if run.who == "relay"] + alone
    together = Spread.of([both.rate / single.rate for single, both in zip(alone, two, strict=True)])
    return (
        at_least("messages a second, one process", RATE_MIN, spread(relay, lambda run: run.rate).median),
        at_least("times the naive loop, pair by pair", RATIO_MIN, Spread.of(ratios(one)).median, 2),
        at_most("CPU of the relay, µs a message", CPU_US_MAX, spread(relay, lambda run: run.cpu_us).median, 1),
        at_least("two processes, times one, pair by pair", TOGETHER_MIN, together.median, 2),
    )


SCENARIO = Scenario("speed", "How many messages a second, at which cost of CPU, beside the naive loop?", measure)
