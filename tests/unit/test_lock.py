"""The lock: hashed, complete, and free of any address."""

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME: list[str] = PROJECT["project"]["dependencies"]
GROUPS: dict[str, list[str]] = PROJECT["dependency-groups"]
CHECKERS = "tests/deploy/checkers"
CHECKOV = f"{CHECKERS}/requirements-checkov.txt"
LOCKS = {
    "requirements.txt": RUNTIME,
    "requirements-dev.txt": RUNTIME + GROUPS["dev"],
    "requirements-deploy.txt": GROUPS["deploy"],
    CHECKOV: GROUPS["checkov"],
}
PIN = re.compile(r"^(?P<name>[a-z0-9.-]+)==(?P<version>\S+)", re.MULTILINE)


def pins(file: str) -> dict[str, str]:
    """Each package of the lock and its version."""
    return {match["name"]: match["version"] for match in PIN.finditer((ROOT / file).read_text())}


def name_of(requirement: str) -> str:
    """The package a requirement is about, as the lock spells it."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return re.sub(r"[._-]+", "-", found[0]).lower()


@pytest.mark.parametrize(("file", "wanted"), LOCKS.items())
def test_every_dependency_is_locked(file: str, wanted: list[str]) -> None:
    assert {name_of(requirement) for requirement in wanted} <= pins(file).keys()


@pytest.mark.parametrize("file", LOCKS)
def test_every_pin_has_a_hash_and_no_line_has_an_address(file: str) -> None:
    text = (ROOT / file).read_text()
    for block in re.split(r"\n(?=\S)", text):
        assert block.startswith("#") or "--hash=sha256:" in block, block.splitlines()[0]
    assert not re.search(r"https?:|file:|index-url|find-links", text)


def test_tests_run_with_the_versions_that_are_shipped() -> None:
    shipped = pins("requirements.txt")
    assert shipped == {name: version for name, version in pins("requirements-dev.txt").items() if name in shipped}


def test_what_checks_the_chart_goes_with_what_the_tests_have() -> None:
    have, added = pins("requirements-dev.txt"), pins("requirements-deploy.txt")
    assert {name: have[name] for name in added if name in have} == {n: v for n, v in added.items() if n in have}


def test_npm_packages_are_locked_by_hash_and_without_addresses() -> None:
    wanted = json.loads((ROOT / CHECKERS / "package.json").read_text())["dependencies"]
    packages = json.loads((ROOT / CHECKERS / "package-lock.json").read_text())["packages"]
    assert packages.pop("")["dependencies"] == wanted
    assert {f"node_modules/{name}": version for name, version in wanted.items()}.items() <= {
        place: package["version"] for place, package in packages.items()
    }.items()
    for place, package in packages.items():
        assert package["integrity"].startswith("sha512-"), place
        assert "resolved" not in package, place
