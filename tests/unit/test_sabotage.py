"""The catalogue of bugs fits the code, and a verdict on one is not given lightly."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from sabotage import report
from sabotage.__main__ import chosen
from sabotage.catalogue import Edit, Misfit, Mutant, chosen_tests, load
from sabotage.verdict import How, Said, Verdict, not_green, read

ROOT = Path(__file__).parents[2]
MUTANTS = {mutant.name: mutant for mutant in load()}
A, B = "tests/test_a.py::test_a", "tests/test_a.py::test_b"


def copy_of_its_files(mutant: Mutant, tree: Path) -> None:
    for edit in mutant.edits:
        (tree / edit.file).parent.mkdir(parents=True, exist_ok=True)
        (tree / edit.file).write_text((ROOT / edit.file).read_text())


@cache
def functions(file: str) -> frozenset[str]:
    found = ast.walk(ast.parse((ROOT / file).read_text()))
    return frozenset(each.name for each in found if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_fits_the_code_and_changes_it(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    copy_of_its_files(mutant, tmp_path)
    mutant.plant(tmp_path)
    for edit in mutant.edits:
        assert (tmp_path / edit.file).read_text() != (ROOT / edit.file).read_text()
        assert edit.file.startswith(("relay/", "sql/")), "the bug must be in the product"
    assert mutant.loses.endswith("."), "one sentence for a user"


@pytest.mark.parametrize("test", chosen_tests(MUTANTS.values()))
def test_a_test_that_must_turn_red_exists(test: str) -> None:
    file, _, function = test.partition("::")
    assert function in functions(file)


def test_no_mutant_is_found_by_a_name_that_is_nowhere(tmp_path: Path) -> None:
    """It would be caught by anything: nobody merges what cannot run."""
    for name, mutant in MUTANTS.items():
        copy_of_its_files(mutant, tmp_path / name)
        mutant.plant(tmp_path / name)
    argv = [sys.executable, "-m", "ruff", "check", "--isolated", "--quiet", "--select", "E9,F82", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def a_mutant(*red: str, hangs: bool = False) -> Mutant:
    return Mutant("bug", "All is lost.", red, (Edit("relay/scan.py", "import", "export"),), hangs)


def verdict(mutant: Mutant, said: dict[str, Said], trouble: str = "") -> Verdict:
    return Verdict(mutant, said, 1.0, trouble)


@pytest.mark.parametrize(("text", "found"), [("", 0), ("old", 0), ("new new", 2)])
def test_a_mutant_whose_old_text_is_not_there_exactly_once_does_not_fit(text: str, found: int, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(text)
    mutant = Mutant("bug", "All is lost.", (A,), (Edit("a.py", "new", "newer"),))
    with pytest.raises(Misfit, match=f"stands {found} times"):
        mutant.plant(tmp_path)


def test_two_mutants_of_one_name_are_refused(tmp_path: Path) -> None:
    text = '[[mutant]]\nname = "bug"\nloses = "All."\nred = []\nedit = []\n'
    (tmp_path / "1.toml").write_text(text)
    (tmp_path / "2.toml").write_text(text)
    with pytest.raises(Misfit, match="bug"):
        load(tmp_path)


def test_a_name_that_is_no_mutants_is_refused() -> None:
    assert chosen([a_mutant(A)], ["bug"]) == [a_mutant(A)]
    with pytest.raises(Misfit, match="there is no mutant called but"):
        chosen([a_mutant(A)], ["but"])


REPORT = """<testsuites><testsuite>
<testcase file="tests/test_a.py" name="test_a[1]" />
<testcase file="tests/test_a.py" name="test_a[2]"><{kind} message="{message}">…</{kind}></testcase>
<testcase file="tests/test_a.py" name="test_b"><skipped message="not here" /></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("kind", "message", "how"),
    [
        ("failure", "AssertionError: assert 1 == 2", How.FAILED),
        ("failure", "psycopg.errors.CheckViolation: no", How.FAILED),
        ("failure", "NameError: name 'x' is not defined", How.BROKEN),
        ("failure", "psycopg.errors.SyntaxError: near FROM", How.BROKEN),
        ("failure", "Failed: Timeout (&gt;60.0s) from pytest-timeout.", How.HUNG),
        ("failure", "TimeoutError", How.HUNG),
        ("error", "failed on setup with AssertionError", How.BROKEN),
        ("skipped", "no server", How.SKIPPED),
    ],
)
def test_the_worst_of_a_tests_variants_counts(kind: str, message: str, how: How) -> None:
    said = read(REPORT.format(kind=kind, message=message))
    assert said[A].how is how
    assert said[B] == Said(How.SKIPPED, "not here")


def test_a_mutant_is_caught_when_every_test_that_must_turn_red_failed() -> None:
    failed, passed = Said(How.FAILED, "AssertionError"), Said(How.PASSED)
    assert verdict(a_mutant(A, B), {A: failed, B: failed}).caught
    assert verdict(a_mutant(A, B), {A: failed, B: passed}).missed == (B,)
    assert not verdict(a_mutant(A, B), {A: failed}).caught, "it was not run"
    assert not verdict(a_mutant(A), {A: failed}, "pytest exited 3").caught


@pytest.mark.parametrize("how", [How.BROKEN, How.HUNG, How.SKIPPED])
def test_what_did_not_judge_catches_nothing(how: How) -> None:
    assert not verdict(a_mutant(A), {A: Said(how)}).caught


def test_running_out_of_time_catches_what_is_said_to_hang() -> None:
    assert verdict(a_mutant(A, hangs=True), {A: Said(How.HUNG)}).caught


def test_without_a_bug_every_test_must_pass() -> None:
    assert not_green([A], {A: Said(How.PASSED)}) == []
    assert not_green([A, B], {A: Said(How.FAILED, "no")}) == [
        f"{A} failed: no",
        f"{B} skipped: pytest does not know it",
    ]


def test_a_verdict_names_the_tests() -> None:
    caught = verdict(a_mutant(A), {A: Said(How.FAILED, "AssertionError")})
    missed = verdict(a_mutant(A, B), {A: Said(How.PASSED), B: Said(How.BROKEN, "NameError: x")})
    assert report.row(caught).split() == ["caught", "bug", "1", "s", "test_a"]
    assert [line.strip() for line in report.row(missed).splitlines()[1:]] == [
        f"{A} passed",
        f"{B} broken: NameError: x",
    ]
    assert report.summary([caught, caught]) == "2 of 2 bugs caught."
    assert report.summary([caught, missed]) == "1 of 2 bugs caught; survived: bug"
    assert report.as_dict(caught)["caught"] is True
    assert "All is lost." in report.listed([a_mutant(A)])
