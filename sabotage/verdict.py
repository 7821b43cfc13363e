"""What the tests said of a tree: pytest's own report read, and judged. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from xml.etree import ElementTree as ET

from sabotage.catalogue import Mutant

NOT_CODE = frozenset(
    {
        "AttributeError",
        "ImportError",
        "IndentationError",
        "ModuleNotFoundError",
        "NameError",
        "SyntaxError",
        "TypeError",
        "UnboundLocalError",
    }
)
"""A mutant that cannot even be run is no bug that somebody would have merged."""
OUT_OF_TIME = ("Failed: Timeout", "TimeoutError")
WORDS_MAX = 160


class How(StrEnum):
    """How one test ended, from the best to the worst of what its variants did."""

    PASSED = "passed"
    SKIPPED = "skipped"
    BROKEN = "broken"
    """It never came to judge: a fixture failed, or the code could not be run."""
    HUNG = "ran out of time"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Said:
    """What one test said."""

    how: How
    words: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mutant."""

    mutant: Mutant
    said: Mapping[str, Said]
    seconds: float
    trouble: str = ""
    """Why nothing was judged at all."""

    @property
    def caught(self) -> bool:
        """Every test that must turn red did, by judging."""
        return not self.trouble and not self.missed

    @property
    def missed(self) -> tuple[str, ...]:
        """The tests that should have turned red and did not."""
        red = {How.FAILED, How.HUNG} if self.mutant.hangs else {How.FAILED}
        return tuple(test for test in self.mutant.red if self.said.get(test, Said(How.SKIPPED)).how not in red)


def read(report: str) -> dict[str, Said]:
    """Read pytest's JUnit XML (family xunit1): by `path::function`, the worst that its variants said."""
    heard: defaultdict[str, list[Said]] = defaultdict(list)
    for case in ET.fromstring(report).iter("testcase"):
        test = f"{case.get('file')}::{case.get('name', '').partition('[')[0]}"
        heard[test].append(_said(case))
    order = list(How)
    return {test: max(said, key=lambda each: order.index(each.how)) for test, said in heard.items()}


def _said(case: ET.Element) -> Said:
    for kind in ("error", "failure", "skipped"):
        found = case.find(kind)
        if found is not None:
            words = " ".join((found.get("message") or "").split())
            return Said(_how(kind, words), words[:WORDS_MAX])
    return Said(How.PASSED)


def _how(kind: str, words: str) -> How:
    if kind == "skipped":
        return How.SKIPPED
    error = words.partition(":")[0].rpartition(".")[2]
    if kind == "error" or error in NOT_CODE:
        return How.BROKEN
    return How.HUNG if words.startswith(OUT_OF_TIME) else How.FAILED


def not_green(tests: Iterable[str], said: Mapping[str, Said]) -> Sequence[str]:
    """Return a line for each test that did not pass on the sound tree."""
    lines = []
    for test in tests:
        each = said.get(test, Said(How.SKIPPED, "pytest does not know it"))
        if each.how is not How.PASSED:
            lines.append(f"{test} {each.how}: {each.words}")
    return lines
