"""The kill loop, short, as a person runs it: relays ended at random moments, and the verdict on what arrived."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RUN_S = 150
pytestmark = pytest.mark.timeout(RUN_S + 30)


def loop(result: Path, *arguments: str) -> dict[str, Any]:
    """Run it to its end; what it says in JSON."""
    argv = (sys.executable, "-m", "chaos.kills", "--hasten", "--json", str(result), *arguments)
    done = subprocess.run(argv, cwd=ROOT, timeout=RUN_S, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(result.read_text())
    return told


def test_relays_killed_at_random_lose_nothing_and_repeat_no_more_than_they_had_in_hand(tmp_path: Path) -> None:
    told = loop(tmp_path / "kills.json", "--kills", "20", "--seed", "20")

    assert told["passed"]
    assert told["kills"]["kills"] == 20
    assert told["kills"]["while_starting"] < 20
    assert told["figures"]["committed"] == told["figures"]["delivered"] > 0
    assert told["kills"]["duplicated"] <= told["kills"]["left_in_hand"]


def test_relays_ended_by_sigterm_at_random_repeat_nothing(tmp_path: Path) -> None:
    told = loop(tmp_path / "terms.json", "--kills", "10", "--seed", "10", "--signal", "TERM")

    assert told["passed"]
    assert told["kills"]["kills"] == 10
    assert told["figures"]["committed"] == told["figures"]["delivered"] > 0
    assert told["kills"]["duplicated"] == told["kills"]["left_in_hand"] == 0
