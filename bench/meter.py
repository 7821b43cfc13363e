"""Runs a process to its end and reads from the kernel what it used, between two lines that it writes."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.processes import LEASH

READY_EVENTS = frozenset({"relay.started", "naive.started"})
BATCH_EVENTS = frozenset({"tick", "naive.batch"})
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""The kernel's unit in /proc; it scales the sum to the scheduler's exact time."""
LIMIT_S = 900.0
"""A drain that takes longer is broken."""
TOLD_LINES, TOLD_CHARS = 12, 500
"""Of a failed process's last words."""


class Broken(Exception):
    """A measurement is not to be had; the message says why."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a process had used at one moment."""

    at: float
    """Local monotonic seconds."""
    cpu_s: float
    memory_mib: float


@dataclass(frozen=True, slots=True)
class Metered:
    """The moments of one process that count."""

    started: Moment
    ready: Moment
    last: Moment
    """Its last batch was marked."""


def cpu_s(stat: str) -> float:
    """Return user and system seconds of a process, all its threads, from the text of /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def peak_mib(status: str) -> float:
    """Return the most memory that was ever resident, from the text of /proc/PID/status; 0 when it is a zombie."""
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0.0)


def event_of(line: str) -> str:
    """Return the event of a JSON log line; an empty name for any other line."""
    try:
        said = json.loads(line)
    except ValueError:
        return ""
    return str(said.get("event", "")) if isinstance(said, dict) else ""


def moment(pid: int) -> Moment:
    """Look at a process that runs."""
    folder = Path(f"/proc/{pid}")
    now = time.monotonic()
    return Moment(now, cpu_s((folder / "stat").read_text()), peak_mib((folder / "status").read_text()))


def meter(argv: Sequence[str], env: Mapping[str, str]) -> Metered:
    """Run a command to its end. Raises Broken when it fails, or never said that it began or that it moved rows.

    It dies with us, however we die.
    """
    leashed = (sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *argv)
    with subprocess.Popen(
        leashed,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        alarm = threading.Timer(LIMIT_S, process.kill)
        alarm.start()
        try:
            return _watch(process, Path(argv[0]).name)
        finally:
            alarm.cancel()
            process.kill()


def _watch(process: subprocess.Popen[str], name: str) -> Metered:
    started = moment(process.pid)
    ready: Moment | None = None
    last: Moment | None = None
    told: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        told = [*told[1 - TOLD_LINES :], line.rstrip()[:TOLD_CHARS]]
        event = event_of(line)
        if event in READY_EVENTS:
            ready = moment(process.pid)
        elif event in BATCH_EVENTS:
            last = moment(process.pid)
    code = process.wait()
    if code or ready is None or last is None:
        raise Broken("\n".join((f"{name} ended with exit code {code}; the end of what it wrote:", *told)))
    return Metered(started, ready, last)
