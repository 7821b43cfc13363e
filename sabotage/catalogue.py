"""The mutants: one bug each, as data in `mutants/*.toml`, and how one is planted in a copy of the tree."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("mutants")


class Misfit(Exception):
    """A mutant that does not fit the code any more; the catalogue must follow the code."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement in one file, whose old text stands there exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug that a good programmer might write."""

    name: str
    loses: str
    """What a user of the relay would lose by it, in one sentence."""
    red: tuple[str, ...]
    """The tests that must fail, each as `path::function`."""
    edits: tuple[Edit, ...]
    hangs: bool = False
    """It makes something wait for ever, so running out of time is what finds it."""

    def plant(self, tree: Path) -> None:
        """Write the bug into that copy of the tree. Raises Misfit."""
        for edit in self.edits:
            path = tree / edit.file
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            if (found := text.count(edit.old)) != 1:
                raise Misfit(f"{self.name}: its old text stands {found} times in {edit.file}:\n{edit.old}")
            path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")


def load(folder: Path = FOLDER) -> tuple[Mutant, ...]:
    """Read every mutant, in the order of the files. Raises Misfit when two share a name."""
    mutants = tuple(
        Mutant(
            name=entry["name"],
            loses=entry["loses"],
            red=tuple(entry["red"]),
            edits=tuple(Edit(**edit) for edit in entry["edit"]),
            hangs=entry.get("hangs", False),
        )
        for path in sorted(folder.glob("*.toml"))
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    )
    names = [mutant.name for mutant in mutants]
    if twice := {name for name in names if names.count(name) > 1}:
        raise Misfit(f"more than one mutant is called {', '.join(sorted(twice))}")
    return mutants


def chosen_tests(mutants: Iterable[Mutant]) -> tuple[str, ...]:
    """Return every test that some mutant names, once."""
    return tuple(sorted({test for mutant in mutants for test in mutant.red}))
