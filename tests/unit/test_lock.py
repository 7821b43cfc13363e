"""The lock: hashed, complete, and free of any address."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME: list[str] = PROJECT["project"]["dependencies"]
DEV: list[str] = PROJECT["dependency-groups"]["dev"]
PIN = re.compile(r"^(?P<name>[a-z0-9.-]+)==(?P<version>\S+)", re.MULTILINE)


def pins(file: str) -> dict[str, str]:
    """Each package of the lock and its version."""
    return {match["name"]: match["version"] for match in PIN.finditer((ROOT / file).read_text())}


def name_of(requirement: str) -> str:
    """The package a requirement is about, as the lock spells it."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return re.sub(r"[._-]+", "-", found[0]).lower()


@pytest.mark.parametrize(("file", "wanted"), [("requirements.txt", RUNTIME), ("requirements-dev.txt", RUNTIME + DEV)])
def test_every_dependency_is_locked(file: str, wanted: list[str]) -> None:
    assert {name_of(requirement) for requirement in wanted} <= pins(file).keys()


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_every_pin_has_a_hash_and_no_line_has_an_address(file: str) -> None:
    text = (ROOT / file).read_text()
    for block in re.split(r"\n(?=\S)", text):
        assert block.startswith("#") or "--hash=sha256:" in block, block.splitlines()[0]
    assert not re.search(r"https?:|file:|index-url|find-links", text)


def test_tests_run_with_the_versions_that_are_shipped() -> None:
    shipped = pins("requirements.txt")
    assert shipped == {name: version for name, version in pins("requirements-dev.txt").items() if name in shipped}
