"""The demo's own processes: real ones, which never outlive us."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.rabbitmq_binaries import TREE_VARIABLE

LEASH = Path(__file__).with_name("leash.py")
OURS = ("RELAY_", "PG", "SHOP_", "CONSUMER_")
"""Prefixes of variables that would steer the demo's processes; the shell's own are none of the demo's business."""
END_S = 15.0


class Broken(Exception):
    """The demo cannot go on; the message says why."""


def scrub() -> None:
    """Take the shell's variables away from us, and with us from everything we start."""
    for name in [name for name in os.environ if name.startswith(OURS) and name != TREE_VARIABLE]:
        del os.environ[name]


def _inherited() -> dict[str, str]:
    """Return our environment without what says which servers to test with: a relay would take it for a setting."""
    return {name: value for name, value in os.environ.items() if name != TREE_VARIABLE}


class Child:
    """One process on the leash: when we die, however, the kernel kills it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process
        self.ending: signal.Signals | None = None
        """What we have sent to end it; its end is then part of the story."""

    @classmethod
    async def start(cls, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path) -> "Child":
        """Start it with those variables more than ours, in a session of its own: Ctrl-C is for us alone."""
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *argv),
                env={**_inherited(), **env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        return cls(name, process, log)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal that does not end it, if it still runs."""
        if self.running:
            self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end and return the exit code, negative for a signal."""
        return await self._process.wait()

    def check(self) -> None:
        """Raise Broken when it ended and should not have."""
        if not self.running and self.ending is None:
            raise Broken(f"The {self.name} ended by itself, exit code {self._process.returncode}.\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """Return the end of what it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def kill(self) -> None:
        """End it with SIGKILL."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        """Ask it to end with SIGTERM and return its exit code. Raises Broken when it takes too long."""
        code = await self._end(signal.SIGTERM)
        if code is None:
            await self.kill()
            raise Broken(f"The {self.name} did not end within {END_S:g} s of its SIGTERM.\n{self.tail()}")
        return code

    async def _end(self, number: signal.Signals) -> int | None:
        self.ending = number
        if self.running:
            self._process.send_signal(number)
        try:
            async with asyncio.timeout(END_S):
                return await self._process.wait()
        except TimeoutError:
            return None


async def output(argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
    """Run a short command to its end. Raises Broken with what it said when it fails."""
    child = await Child.start(Path(argv[0]).name, argv, env, log)
    try:
        code = await child.ended()
    except asyncio.CancelledError:
        await child.kill()
        raise
    if code != 0:
        raise Broken(f"`{' '.join((Path(argv[0]).name, *argv[1:]))}` ended with exit code {code}.\n{child.tail()}")
