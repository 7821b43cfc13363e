"""One server process and everything below it, held through `guard.py`."""

import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from services.guard import KEEP, descendants, send

READY_S = 90.0
"""A server that does not answer within this time will not; RabbitMQ on two busy cores takes up to 20 s."""
POLL_S = 0.03
STARTS = 3


class ServerFailed(Exception):
    """A server did not start or did not stop; the message carries the end of its log."""


@dataclass(frozen=True, slots=True)
class User:
    """Whom a server runs as; `None` stays who we are."""

    uid: int | None
    gid: int | None

    @staticmethod
    def named(name: str) -> "User":
        """That user when we are root (Postgres refuses root), else ourselves."""
        if os.getuid() != 0:
            return User(None, None)
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            entry = pwd.getpwnam("nobody")
        return User(entry.pw_uid, entry.pw_gid)

    def own(self, *paths: Path) -> None:
        """Give them those files or folders."""
        for path in paths:
            if self.uid is not None and self.gid is not None:
                os.chown(path, self.uid, self.gid)

    def run(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> str:
        """Run a short command as that user; its standard output. Raises ServerFailed with what it said."""
        done = subprocess.run(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=READY_S,
            check=False,
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
        )
        if done.returncode != 0:
            raise ServerFailed(f"{Path(argv[0]).name} exited {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


def make_folder(prefix: str, user: User) -> Path:
    """A temporary folder of that user; a short path, since a Unix socket's may have 107 bytes only."""
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir="/tmp"))
    user.own(folder)
    return folder


def first_start(start: Callable[[], None]) -> None:
    """Start a server on ports that `start` chooses; anew when somebody was faster on one of them.

    Raises ServerFailed when it failed three times.
    """
    for _ in range(STARTS - 1):
        with suppress(ServerFailed):
            start()
            return
    start()


def free_port() -> int:
    """A port of 127.0.0.1 nobody listens on.

    Below the ephemeral range (from 32768 on Linux): while a server is stopped no outgoing connection may take its port.
    """
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def environment(drop: Sequence[str], **extra: str) -> dict[str, str]:
    """Our environment without variables of those prefixes: a developer's shell must not steer a private server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(tuple(drop))}
    return kept | extra


@dataclass(slots=True)
class Process:
    """A guarded server process."""

    folder: Path
    log: Path
    quit_signal: signal.Signals
    user: User
    pid: int = 0
    _guard: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def running(self) -> bool:
        """Whether the server's own process lives (a stopped one does)."""
        return self._guard is not None and self._guard.poll() is None

    def start(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start it; returns before it is ready."""
        order = {
            "argv": list(argv),
            "folder": str(self.folder),
            "log": str(self.log),
            "quit_signal": int(self.quit_signal),
            "uid": self.user.uid,
            "gid": self.user.gid,
        }
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")), json.dumps(order)],
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in our terminal is for us; the guard learns of our end by its pipe
        )
        assert guard.stdout is not None
        first = guard.stdout.readline()
        guard.stdout.close()
        self._guard = guard
        if not first:
            self.end()
            raise ServerFailed(f"{argv[0]} could not be started")
        self.pid = int(first)

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        """Ask until it answers. Raises ServerFailed when it ends or stays silent for READY_S."""
        deadline = time.monotonic() + READY_S
        while not ready():
            if not self.running or time.monotonic() > deadline:
                state = "is silent" if self.running else "ended"
                self.end()
                raise ServerFailed(f"the server in {self.folder} {state}; the end of its log:\n{self.tail()}")
            time.sleep(POLL_S)

    def tail(self, lines: int = 30) -> str:
        """The end of the log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def members(self) -> list[int]:
        """The server's processes, without the guard."""
        return descendants(self._guard.pid) if self._guard is not None and self.running else []

    def signal_main(self, number: signal.Signals) -> None:
        """Signal the process that was started."""
        if self.running:
            send([self.pid], number)

    def signal_all(self, number: signal.Signals) -> None:
        """Signal every process of the server; a SIGSTOP until no new child appears behind it."""
        seen: set[int] = set()
        while new := [pid for pid in self.members() if pid not in seen]:
            send(new, number)
            seen.update(new)
            if number is not signal.SIGSTOP:
                return

    def wait_end(self, timeout_s: float) -> bool:
        """Whether the server and all it started are gone within that time."""
        if self._guard is None:
            return True
        try:
            self._guard.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> None:
        """End whatever is left of it, keeping its folder."""
        guard, self._guard = self._guard, None
        if guard is None:
            return
        assert guard.stdin is not None
        try:
            guard.stdin.write(KEEP)
            guard.stdin.close()
        except BrokenPipeError:
            pass  # the guard ended by itself, and everything with it
        guard.wait()

    def remove(self) -> None:
        """End it and remove its folder."""
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)
