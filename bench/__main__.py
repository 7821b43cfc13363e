"""`python -m bench [SCENARIO …]`: measure the relay beside a naive loop and each server alone, and judge it."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import report, yardstick
from bench.bars import all_met
from bench.machine import facts
from bench.meter import Broken
from bench.result import Result, as_json
from bench.scenario import QUICK, Found, Sizes
from bench.scenarios import ALL, BY_NAME
from bench.stage import Stage
from demo.processes import scrub
from services.find import NothingFound
from services.process import ServerFailed

DONE, NOT_MET = 0, 1


def main() -> int:
    """Measure; 0 when every bar is met, 1 when one is not, or when a run's figures count for nothing."""
    given = arguments()
    if given.list:
        say("\n".join(f"{scenario.name:<10} {scenario.asks}" for scenario in ALL))
        return DONE
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
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", type=known, help="those alone; all without any")
    parser.add_argument("--list", action="store_true", help="say which scenarios there are")
    parser.add_argument("--runs", type=positive, help=f"runs of each figure ({Sizes().runs})")
    parser.add_argument("--quick", action="store_true", help="small sizes: see that it works; no bar is judged")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to a file")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to a file")
    return parser.parse_args(argv)


def known(text: str) -> str:
    """Read the name of a scenario. Raises ValueError."""
    if text not in BY_NAME:
        raise argparse.ArgumentTypeError(f"there is no scenario {text}: {', '.join(BY_NAME)}")
    return text


def positive(text: str) -> int:
    """Read a whole number above 0. Raises ValueError."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def measure(stage: Stage, given: argparse.Namespace) -> int:
    """Run everything, telling it as it comes."""
    began = time.monotonic()
    sizes = QUICK if given.quick else Sizes()
    if given.runs:
        sizes = sizes.with_runs(given.runs)
    stage.prepare()
    known_facts = facts(stage, sizes)
    say(report.told(known_facts) + "\n\nyardsticks")
    yard, found = yardstick.measure(stage, sizes, say)
    results: dict[str, Found] = {"yardsticks": found}
    _tell(found)
    for scenario in [BY_NAME[name] for name in given.scenarios] or ALL:
        say(f"\n{scenario.name}: {scenario.asks}")
        results[scenario.name] = scenario.measure(stage, sizes, yard, say)
        _tell(results[scenario.name])
        _keep(given, Result(known_facts | {"took": _since(began)}, results))
    bars = [bar for each in results.values() for bar in each.bars]
    say(f"\n{report.verdict(bars)}\n\n{_since(began)}")
    return DONE if given.quick or all_met(bars) else NOT_MET


def _since(began: float) -> str:
    return f"{(time.monotonic() - began) / 60:.0f} minutes"


def _keep(given: argparse.Namespace, result: Result) -> None:
    """Write what there is so far: a run takes long, and may be cut short."""
    if given.json is not None:
        given.json.write_text(as_json(result))
    if given.markdown is not None:
        given.markdown.write_text(report.page(result.facts, result.found))


def _tell(found: Found) -> None:
    for table in found.tables:
        say("\n" + report.text(table))


def say(text: str) -> None:
    """Tell a person, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
