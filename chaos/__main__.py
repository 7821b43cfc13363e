"""`python -m chaos`: break everything for some minutes, then judge.

Exit codes: 0 every promise was kept · 1 one was broken, or the run could not go on · 130 stopped by a person.
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from chaos import report
from chaos.checker import check
from chaos.history import fingerprint, read
from chaos.run import Plan, play
from chaos.schedule import RELAYS, schedule
from chaos.slopes import as_facts, rising, table
from chaos.soak import slopes
from chaos.stage import Stage
from demo.processes import Broken, scrub
from services.find import NothingFound
from services.process import ServerFailed

PASSED, FAILED, INTERRUPTED = 0, 1, 130


def say(line: str) -> None:
    """Talk to a person."""
    print(line, flush=True)


def main() -> None:
    """Read the arguments and leave with the exit code."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Break everything, then judge what arrived.")
    parser.add_argument("--minutes", type=float, default=3.0, help="about how long it runs (default 3)")
    parser.add_argument("--seed", type=int, help="draws the same faults and the same rows again (default: a new one)")
    parser.add_argument("--rate", type=float, default=300, help="rows a second (default 300)")
    parser.add_argument("--replicas", type=int, default=RELAYS, help=f"relays (default {RELAYS})")
    parser.add_argument("--ordering", choices=("none", "key"), default="none", help="RELAY_ORDERING (default none)")
    parser.add_argument("--json", type=Path, help="write the verdict there")
    parser.add_argument("--keep", action="store_true", help="keep the history also when all is well")
    given = parser.parse_args()
    scrub()
    seed = random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed
    plan = Plan(
        seed,
        given.minutes,
        schedule(seed, given.minutes, given.replicas),
        rate=given.rate,
        relays=given.replicas,
        ordered=given.ordering == "key",
    )
    try:
        sys.exit(asyncio.run(run(plan, given.json, keep=given.keep)))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


async def run(plan: Plan, result: Path | None, *, keep: bool) -> int:
    """Run, judge, and take everything down whatever happens."""
    stage = Stage(
        plan.seed, plan.rate, plan.producers, poison_s=plan.poison_s, relays=plan.relays, ordered=plan.ordered
    )
    say(f"Seed {plan.seed}, about {plan.minutes:g} minutes, {len(plan.schedule)} faults. History: {stage.folder}")
    erased: int | None = None
    try:
        began_at = time.monotonic()
        await stage.open()
        say(
            f"Two servers, {len([*stage.replicas])} relays and the drain run after {time.monotonic() - began_at:.0f} s."
        )
        erased = await play(stage, plan, say)
    except* (Broken, NothingFound, ServerFailed) as errors:
        for error in _flat(errors):
            say(str(error))
    finally:
        await stage.close()
    code = FAILED if erased is None else judge(plan, stage.folder, erased, result)
    if keep or code != PASSED:
        say(f"The history is in {stage.folder}.")
    else:
        shutil.rmtree(stage.folder, ignore_errors=True)
    return code


def judge(plan: Plan, folder: Path, erased: int, result: Path | None) -> int:
    """Judge the history and print the verdict."""
    history, found = read(folder), slopes(folder)
    verdict, name = check(history), fingerprint(folder)
    say(report.text(verdict, history.run, name))
    say(f"Postgres erased {erased} rows that were committed without waiting for the disk; none may have arrived.")
    for line in (*table(found), *rising(found)):
        say(line)
    passed = not verdict.problems and not any(rising(found))
    if result is not None:
        document = json.loads(report.as_json(verdict, history.run, name)) | {
            "passed": passed,
            "minutes": plan.minutes,
            "rows_a_second": plan.rate,
            "ordered": plan.ordered,
            "schedule": Counter(stroke.harm for stroke in plan.schedule),
            "erased_by_crashes": erased,
            "soak": as_facts(found),
        }
        result.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return PASSED if passed else FAILED


def _flat(errors: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error


if __name__ == "__main__":
    main()
