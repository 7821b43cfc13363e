"""`python -m sabotage`: the relay with one bug at a time; does a test find it?

Exit codes: 0 every mutant was caught · 1 one survived, or does not fit the code any more · 130 stopped by a person.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from sabotage import report
from sabotage.catalogue import Misfit, Mutant, chosen_tests, load
from sabotage.verdict import Verdict, not_green
from sabotage.workshop import Unsound, Workshop
from services.find import NothingFound
from services.process import ServerFailed

ALL_CAUGHT, NOT_ALL, INTERRUPTED = 0, 1, 130


def main() -> int:
    """Read the command line, try the mutants, and return the exit code."""
    given = arguments()
    try:
        mutants = chosen(load(), given.only)
        if given.list:
            say(report.listed(mutants))
            return ALL_CAUGHT
        return sabotage(mutants, given.json)
    except (Misfit, NothingFound, ServerFailed, Unsound) as error:
        say(str(error))
        return NOT_ALL
    except KeyboardInterrupt:
        return INTERRUPTED


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m sabotage", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME", action="append", help="try this mutant alone; may be repeated")
    parser.add_argument("--list", action="store_true", help="tell the mutants and try none")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every verdict to a file too")
    return parser.parse_args(argv)


def chosen(mutants: Sequence[Mutant], names: Sequence[str] | None) -> Sequence[Mutant]:
    """Return the mutants of those names, or all. Raises Misfit for a name that is none."""
    if names is None:
        return mutants
    if strangers := set(names) - {mutant.name for mutant in mutants}:
        raise Misfit(f"there is no mutant called {', '.join(sorted(strangers))}; see --list")
    return [mutant for mutant in mutants if mutant.name in names]


def sabotage(mutants: Sequence[Mutant], keep: Path | None) -> int:
    """Try each mutant, telling it as it comes."""
    workshop = Workshop()
    try:
        tests = chosen_tests(mutants)
        say(f"Without a bug: {len(tests)} tests must pass…")
        if red := not_green(tests, workshop.sound(tests)):
            say("\n".join(red))
            return NOT_ALL
        say(f"They do. Now {len(mutants)} bugs, one at a time:\n")
        verdicts = []
        for verdict in _trials(workshop, mutants):
            verdicts.append(verdict)
            say(report.row(verdict))
    finally:
        workshop.close()
    say("\n" + report.summary(verdicts))
    if keep is not None:
        keep.write_text(json.dumps([report.as_dict(verdict) for verdict in verdicts], indent=2) + "\n")
    return ALL_CAUGHT if all(verdict.caught for verdict in verdicts) else NOT_ALL


def _trials(workshop: Workshop, mutants: Sequence[Mutant]) -> Iterator[Verdict]:
    """Give the verdicts as they come."""
    with ThreadPoolExecutor(workshop.at_once) as pool:
        try:
            for done in as_completed([pool.submit(workshop.trial, mutant) for mutant in mutants]):
                yield done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def say(text: str) -> None:
    """Tell a person, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
