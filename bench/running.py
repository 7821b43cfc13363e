"""Processes that run until they are stopped, with what they said and when."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from bench.meter import Broken, Moment, moment, said_in
from bench.stage import DATABASE, RELAY, Stage
from demo.processes import LEASH

SAYS_S = 60.0
"""A process that says nothing for that long will not."""
LINES_KEPT = 12


class Running:
    """One process on the leash; its log is read as it comes."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start it; it dies with the thread that does."""
        self._name = " ".join(argv[-2:])
        self._process = subprocess.Popen(
            (sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *argv),
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.said: list[Mapping[str, Any]] = []
        self._lines: list[str] = []
        self._heard = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._heard:
                self._lines = [*self._lines[1 - LINES_KEPT :], line.rstrip()[:500]]
                if said := said_in(line):
                    self.said.append(said)
                self._heard.notify_all()
        with self._heard:
            self._heard.notify_all()

    def wait_for(self, event: str, timeout_s: float = SAYS_S) -> Mapping[str, Any]:
        """Return the first line with that event. Raises Broken when it does not come."""
        with self._heard:
            self._heard.wait_for(lambda: self._first(event) or not self._reader.is_alive(), timeout_s)
            found = self._first(event)
        if found is None:
            raise Broken("\n".join((f"{self._name} did not say {event}; the end of what it wrote:", *self._lines)))
        return found

    def _first(self, event: str) -> Mapping[str, Any] | None:
        return next((each for each in self.said if each.get("event") == event), None)

    def of(self, event: str) -> list[Mapping[str, Any]]:
        """Return every line with that event."""
        with self._heard:
            return [each for each in self.said if each.get("event") == event]

    def moment(self) -> Moment:
        """Look at what it has used."""
        return moment(self._process.pid)

    def stop(self) -> None:
        """End it as an orchestrator would, and read the rest. Raises Broken when it fails."""
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(SAYS_S)
        self._reader.join(SAYS_S)
        if code:
            raise Broken("\n".join((f"{self._name} ended with exit code {code}:", *self._lines)))

    def close(self) -> None:
        """Leave nothing behind."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def running(argv: Sequence[str], env: Mapping[str, str]) -> Iterator[Running]:
    """Have a process while it is needed."""
    process = Running(argv, env)
    try:
        yield process
    finally:
        process.close()


@contextmanager
def relays(
    stage: Stage, copies: int, database: str = DATABASE, settings: Mapping[str, object] | None = None
) -> Iterator[list[Running]]:
    """Have relays that have started."""
    with ExitStack() as stack:
        argv, env = (str(RELAY), "run"), stage.environment(database, settings)
        found = [stack.enter_context(running(argv, env)) for _ in range(copies)]
        for each in found:
            each.wait_for("relay.started")
        yield found


@contextmanager
def naive_loop(stage: Stage, poll_s: float, database: str = DATABASE) -> Iterator[Running]:
    """Have a naive loop that polls."""
    with running((sys.executable, "-m", "bench.naive"), stage.naive_environment(database, poll_s=poll_s)) as process:
        process.wait_for("naive.started")
        yield process


def wait_until(holds: Any, what: str, timeout_s: float, step_s: float = 0.05) -> float:
    """Ask again and again; return when it held, in local monotonic seconds. Raises Broken when it never did."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise Broken(f"{what} did not happen within {timeout_s:g} s")
        time.sleep(step_s)
    return time.monotonic()
