"""Runs processes to their end and reads from the kernel what they used, between two lines that each writes."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.processes import LEASH
from services.guard import descendants

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
class Around:
    """What went on around a process, in processor seconds since ever."""

    at: float
    """Local monotonic seconds."""
    busy_s: float
    """Of the whole machine."""
    postgres_s: float
    rabbitmq_s: float
    """0 when the servers are not below us, as in containers."""


@dataclass(frozen=True, slots=True)
class Metered:
    """The moments of one process that count."""

    started: Moment
    ready: Moment
    first: Moment
    """Its first batch was marked."""
    last: Moment
    """Its last batch was marked."""
    before: Around
    after: Around
    """From being ready to the process's end."""
    batches: tuple[Mapping[str, Any], ...]
    """What it said of each."""

    @property
    def rows(self) -> int:
        """Rows it carried."""
        return sum(int(batch.get("claimed", 0)) for batch in self.batches)


def cpu_s(stat: str, *, with_dead_children: bool = False) -> float:
    """Return user and system seconds of a process, all its threads, from the text of /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if with_dead_children else 13])) * TICK_S


def busy_s(stat: str) -> float:
    """Return the seconds all processors were not idle, from the text of /proc/stat."""
    user, nice, system, _idle, _waiting, *rest = map(int, stat.partition("\n")[0].split()[1:9])
    return (user + nice + system + sum(rest)) * TICK_S


def peak_mib(status: str) -> float:
    """Return the most memory that was ever resident, from the text of /proc/PID/status; 0 when it is a zombie."""
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0.0)


def said_in(line: str) -> Mapping[str, Any]:
    """Return the fields of a JSON log line; none for any other line."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def moment(pid: int) -> Moment:
    """Look at a process that runs."""
    folder = Path(f"/proc/{pid}")
    now = time.monotonic()
    return Moment(now, cpu_s((folder / "stat").read_text()), peak_mib((folder / "status").read_text()))


def around() -> Around:
    """Look at the machine and at the servers below us."""
    used = {"postgres": 0.0, "beam.smp": 0.0}
    for pid in descendants(os.getpid()):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            continue  # it ended while we looked, and its parent has what it used
        name = stat.partition("(")[2].rpartition(")")[0]
        if name in used:
            used[name] += cpu_s(stat, with_dead_children=True)
    return Around(time.monotonic(), busy_s(Path("/proc/stat").read_text()), used["postgres"], used["beam.smp"])


def meter(argv: Sequence[str], env: Mapping[str, str], *, enough: int | None = None, may_idle: bool = False) -> Metered:
    """Run a command to its end, which is asked of it once it has carried `enough` rows.

    Raises Broken when it fails, never said that it began, or moved nothing and may not idle. It dies with us, however
    we die.
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
            return _Watch(process, enough, may_idle).to_the_end(Path(argv[0]).name)
        finally:
            alarm.cancel()
            process.kill()


def meter_together(argv: Sequence[str], env: Mapping[str, str], *, copies: int, enough: int | None) -> list[Metered]:
    """Run as many of one command side by side; the kernel kills them with the thread that started each."""
    if copies == 1:
        return [meter(argv, env, enough=enough)]
    with ThreadPoolExecutor(copies) as threads:
        return list(threads.map(lambda _: meter(argv, env, enough=enough, may_idle=True), range(copies)))


@dataclass(slots=True)
class _Watch:
    """A process under the eye, from its start."""

    process: "subprocess.Popen[str]"
    enough: int | None
    may_idle: bool
    before: Around | None = None
    ready: Moment | None = None
    first: Moment | None = None
    last: Moment | None = None
    rows: int = 0
    batches: list[Mapping[str, Any]] = field(default_factory=list)

    def to_the_end(self, name: str) -> Metered:
        """Read all it writes."""
        started = moment(self.process.pid)
        told: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = [*told[1 - TOLD_LINES :], line.rstrip()[:TOLD_CHARS]]
            self._read(said_in(line))
        code = self.process.wait()
        if code or self.before is None or self.ready is None or self.last is None:
            raise Broken("\n".join((f"{name} ended with exit code {code}; the end of what it wrote:", *told)))
        return Metered(
            started, self.ready, self.first or self.last, self.last, self.before, around(), tuple(self.batches)
        )

    def _read(self, said: Mapping[str, Any]) -> None:
        event = said.get("event")
        if event in READY_EVENTS:
            self.before, self.ready = around(), moment(self.process.pid)
            self.last = self.ready if self.may_idle else None
        elif event in BATCH_EVENTS:
            self.last = moment(self.process.pid)
            self.first = self.first or self.last
            self.batches.append(said)
            self.rows += int(said.get("claimed", 0))
            if self.enough is not None and self.rows >= self.enough:
                self.process.terminate()
                self.enough = None
