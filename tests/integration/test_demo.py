"""The demo, whole, as a person runs it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest

ROOT = Path(__file__).parents[2]
RUN_S = 150
MARK = f"demo-test-{token_hex(8)}"
pytestmark = pytest.mark.timeout(RUN_S + 30)


def demo(*arguments: str, **env: str) -> "subprocess.Popen[str]":
    """Start it; its output is read from its pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "demo", *arguments],
        cwd=ROOT,
        env=os.environ | env | {"DEMO_TEST_MARK": MARK},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(*arguments: str, **env: str) -> tuple[int, str]:
    """Run it to its end."""
    with demo(*arguments, **env) as process:
        output, _ = process.communicate(timeout=RUN_S)
    return process.returncode, output


def verdict(output: str) -> dict[str, int]:
    """The numbers of the table."""
    table = output.partition("Verdict")[2]
    return {
        name.strip(): int(number.replace(",", ""))
        for name, number in re.findall(r"^  ([a-z ]+?)  +([\d,]+)", table, re.MULTILINE)
    }


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    """Whatever a run starts, servers included, has inherited the mark, and is gone with it."""
    yield
    assert marked() == []


def marked() -> list[str]:
    """The command lines of the processes that a run of ours started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if MARK.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # not a process, not ours to read, or just ended
    return found


def test_the_demo_survives_its_faults_and_says_so() -> None:
    code, output = run("--seconds", "30", RELAY_LANES="nonsense", RELAY_TYPO="1", PGPORT="1", PGSSLMODE="verify-full")

    assert code == 0, output
    counted = verdict(output)
    assert (counted["lost"], counted["phantom"], counted["altered"]) == (0, 0, 0)
    assert counted["delivered"] == counted["committed"] > 1_000
    assert counted["rolled back"] > 100
    assert counted["duplicates"] <= 2_000
    assert "kill -9" in output
    assert "exit code 0" in output
    assert "\x1b" not in output


def test_a_withheld_message_turns_the_verdict_red_and_without_a_fault_nothing_comes_twice() -> None:
    code, output = run("--calm", "--seconds", "3", "--sabotage")

    assert code == 1, output
    counted = verdict(output)
    assert (counted["lost"], counted["phantom"], counted["duplicates"]) == (1, 0, 0)
    assert "1 message was committed and never arrived, such as " in " ".join(output.split())


def test_ctrl_c_ends_the_demo_and_everything_it_started() -> None:
    with demo("--calm", "--seconds", "60") as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any("The shop takes about" in line for line in lines)
        assert len(marked()) > 5
        process.send_signal(signal.SIGINT)
        rest = "".join(lines)
        code = process.wait(RUN_S)

    assert code == 130, rest
    assert "Everything the demo started is stopped." in rest
