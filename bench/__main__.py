"""`python -m bench`: drain the same backlog by the relay and by a naive loop, in turns, and judge the relay."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench import report
from bench.ceilings import broker_rate, database_rate
from bench.figures import Run, bars, order, ratios
from bench.machine import facts
from bench.meter import Broken
from bench.stage import Stage
from demo.processes import scrub
from services.find import NothingFound
from services.process import ServerFailed

DONE, NOT_MET = 0, 1
WARM_UP_ROWS = 5_000


def main() -> int:
    """Measure; 0 when every bar is met, 1 when one is not, or when a run's figures count for nothing."""
    given = arguments()
    scrub()
    try:
        stage = Stage()
        try:
            return measure(stage, given)
        finally:
            stage.close()
    except (Broken, NothingFound, ServerFailed) as error:
        say(f"\n{error}")
        return NOT_MET
    except KeyboardInterrupt:
        return NOT_MET


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", type=positive, default=100_000, help="rows of the backlog (100000)")
    parser.add_argument("--runs", type=positive, default=3, help="runs of each (3)")
    parser.add_argument("--only", choices=("relay", "naive"), help="measure one of both, without a ratio")
    parser.add_argument("--ceilings", action="store_true", help="also measure each server alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to a file too")
    return parser.parse_args(argv)


def positive(text: str) -> int:
    """Read a whole number above 0. Raises ValueError."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def measure(stage: Stage, given: argparse.Namespace) -> int:
    """Run everything, telling it as it comes."""
    stage.migrate()
    stage.fill(min(given.rows, WARM_UP_ROWS))
    body_bytes = stage.body_bytes()
    known = facts(stage) | {"backlog": f"{given.rows:,} rows of {body_bytes:.0f} bytes, preloaded and vacuumed"}
    say(report.told(known) + "\n\n" + report.heading())
    turns = order(given.runs, given.only)
    for who in dict.fromkeys(turns):
        stage.run(who, min(given.rows, WARM_UP_ROWS))
    runs: list[Run] = []
    for who in turns:
        runs.append(stage.run(who, given.rows))
        say(report.row(runs[-1], sum(run.who == who for run in runs)))
    say("\n" + report.summary(runs))
    ceilings = _ceilings(stage, given.rows, round(body_bytes)) if given.ceilings else {}
    if found := bars(runs):
        say("\n" + report.verdict(runs))
    if given.json is not None:
        kept = {"facts": known, "runs": [run.as_dict() for run in runs], "ratios": ratios(runs), "ceilings": ceilings}
        given.json.write_text(json.dumps(kept | {"bars": [asdict(bar) for bar in found]}, indent=2) + "\n")
    return DONE if all(bar.met for bar in found) else NOT_MET


def _ceilings(stage: Stage, rows: int, body_bytes: int) -> dict[str, float]:
    alone = {
        "the broker alone, fed encoded frames, msg/s": asyncio.run(broker_rate(stage, rows, body_bytes)),
        "Postgres alone, claims and marks, rows/s": asyncio.run(database_rate(stage, rows)),
    }
    say("\n" + "\n".join(f"{name}: {rate:,.0f}" for name, rate in alone.items()))
    return alone


def say(text: str) -> None:
    """Tell a person, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
