"""What the size of a batch, and the number of lanes, do to throughput."""

from bench import runs
from bench.drains import drained
from bench.figures import Run, spread
from bench.scenario import Found, Say, Scenario, Sizes, Yard
from bench.stage import Stage

BATCHES = (10, 50, 100, 250, 500, 1000, 2000)
LANES = (1, 2, 3, 4)
DEFAULT_BATCH, DEFAULT_LANES = 500, 2


def measure(stage: Stage, sizes: Sizes, yard: Yard, say: Say) -> Found:
    """Drain with each size and each number of lanes, the others at their defaults."""
    drained(stage, "relay", sizes.rows // 20)
    groups: dict[tuple[int, int], list[Run]] = {}
    for _ in range(sizes.runs):
        for batch, lanes in dict.fromkeys(
            [*((batch, DEFAULT_LANES) for batch in BATCHES), *((DEFAULT_BATCH, lanes) for lanes in LANES)]
        ):
            rows = min(sizes.rows // 3, batch * 300)
            run = drained(stage, "relay", rows, settings={"BATCH_SIZE": batch, "LANES": lanes})
            groups.setdefault((batch, lanes), []).append(run)
            say(f"batches of {batch}, {lanes} lanes: {runs.told(run)}")
    named = {f"batches of {batch}, {lanes} lanes": found for (batch, lanes), found in sorted(groups.items())}
    rates = {key: spread(found, lambda run: run.rate).median for key, found in groups.items()}
    data = {
        "runs": runs.kept(named),
        "by_batch": [(batch, rates[batch, DEFAULT_LANES]) for batch in BATCHES],
        "by_lanes": [(lanes, rates[DEFAULT_BATCH, lanes]) for lanes in LANES],
    }
    return Found((runs.table("RELAY_BATCH_SIZE and RELAY_LANES", named, yard),), data=data)


SCENARIO = Scenario("batch", "What do the size of a batch and the number of lanes change?", measure)
