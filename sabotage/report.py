"""The verdicts as a person and a program read them. Pure."""

from collections.abc import Iterable, Sequence

from sabotage.catalogue import Mutant
from sabotage.verdict import How, Said, Verdict

NAME_CHARS = 34


def row(verdict: Verdict) -> str:
    """Tell one verdict in a line, and what stayed green below it."""
    name = verdict.mutant.name.ljust(NAME_CHARS)
    if verdict.caught:
        by = ", ".join(function(test) for test in verdict.mutant.red)
        return f"  caught    {name} {verdict.seconds:4.0f} s  {by}"
    return "\n".join(
        [f"  SURVIVED  {name} {verdict.seconds:4.0f} s", *(f"            {line}" for line in why(verdict))]
    )


def why(verdict: Verdict) -> Sequence[str]:
    """Say what kept a mutant from being caught."""
    if verdict.trouble:
        return verdict.trouble.splitlines()
    lines = []
    for test in verdict.missed:
        said = verdict.said.get(test, Said(How.SKIPPED, "it was not run"))
        lines.append(f"{test} {said.how}" + (f": {said.words}" if said.words else ""))
    return lines


def summary(verdicts: Sequence[Verdict]) -> str:
    """Tell how many were caught."""
    caught = sum(verdict.caught for verdict in verdicts)
    survivors = [verdict.mutant.name for verdict in verdicts if not verdict.caught]
    told = f"{caught} of {len(verdicts)} bugs caught"
    return f"{told}; survived: {', '.join(survivors)}" if survivors else f"{told}."


def listed(mutants: Iterable[Mutant]) -> str:
    """Tell every mutant: what it would cost, where it is, what finds it."""
    blocks = []
    for mutant in mutants:
        files = ", ".join(dict.fromkeys(edit.file for edit in mutant.edits))
        blocks.append("\n".join([mutant.name, f"  {mutant.loses}", f"  in {files}", *(f"  {t}" for t in mutant.red)]))
    return "\n\n".join(blocks)


def as_dict(verdict: Verdict) -> dict[str, object]:
    """Return a verdict as JSON."""
    return {
        "name": verdict.mutant.name,
        "loses": verdict.mutant.loses,
        "caught": verdict.caught,
        "seconds": round(verdict.seconds, 1),
        "tests": {test: {"how": said.how, "words": said.words} for test, said in verdict.said.items()},
        "trouble": verdict.trouble,
    }


def function(test: str) -> str:
    """Return a test's own name."""
    return test.rpartition("::")[2]
