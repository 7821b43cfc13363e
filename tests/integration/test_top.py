"""`relay top` as a process: on a terminal and without one, with a relay that comes, goes and is none."""

import asyncio
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from fcntl import ioctl
from typing import Any

import pytest

from relay.web import Pages, Web
from tests import statuses
from tests.builders import eventually
from tests.statuses import status

LOCAL = "127.0.0.1"
BARE = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
ROWS, COLUMNS = 40, 120
END_S = 20.0


class Told:
    """A relay that tells what it is told to tell."""

    def __init__(self) -> None:
        self.status = status()
        self.web = Web(self._pages(), host=LOCAL, port=0, tell=lambda *_, **__: None)

    def _pages(self) -> Pages:
        return Pages(lambda: True, lambda: None, lambda: self.status, lambda _: (b"", ""))

    @property
    def env(self) -> dict[str, str]:
        """What `relay top` needs to find it."""
        return BARE | {"RELAY_HTTP_HOST": LOCAL, "RELAY_HTTP_PORT": str(self.web.port), "TERM": "xterm-256color"}


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    made = Told()
    async with made.web:
        yield made


async def start(env: dict[str, str], *args: str, **streams: Any) -> asyncio.subprocess.Process:
    streams = {"stdin": asyncio.subprocess.DEVNULL} | streams
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "relay", "top", *args, env=env, **streams)


async def ran(env: dict[str, str], *args: str) -> tuple[int | None, str, str]:
    process = await start(env, *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(END_S):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_once_shows_it_and_leaves(told: Told) -> None:
    code, out, err = await ran(told.env | {"COLUMNS": "100"}, "--once")

    assert (code, err) == (0, "")
    assert "Flowing for 25 min" in out
    assert "Time to empty" in out
    assert "\x1b" not in out
    assert "q ends" not in out


async def test_without_a_terminal_it_is_a_line_every_two_seconds_until_it_is_interrupted(told: Told) -> None:
    process = await start(told.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    first = (await process.stdout.readline()).decode()
    told.status = status(broker=statuses.gone(), uptime_seconds=18_003.0)
    second = (await process.stdout.readline()).decode()
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()

    assert first.startswith("13:40:05 UTC  flowing ")
    assert second.startswith("13:40:08 UTC  outage ")
    assert (process.returncode, err) == (0, b"")


async def test_a_relay_that_goes_and_comes_back_does_not_end_it(told: Told) -> None:
    process = await start(told.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    await process.stdout.readline()
    port = told.web.port
    await told.web.close()
    assert (await process.stderr.readline()).decode().startswith(f"no relay answers at {LOCAL}:{port}: ")
    async with Web(told._pages(), host=LOCAL, port=port or 0, tell=lambda *_, **__: None):
        assert b"flowing" in await process.stdout.readline()
    process.terminate()

    assert await process.wait() == 0


async def test_no_relay_and_something_else_are_exit_code_4(told: Told) -> None:
    told.status = {"name": "something else"}
    assert await ran(told.env) == (4, "", "something else than a relay answers at RELAY_HTTP_PORT\n")
    await told.web.close()
    code, out, err = await ran(BARE | {"RELAY_HTTP_PORT": "1"}, "--once")
    assert (code, out, err) == (4, "", "no relay answers at 127.0.0.1:1: Connection refused\n")


class Terminal:
    """A terminal with `relay top` in it, and all that it wrote."""

    def __init__(self) -> None:
        self._here, self._there = pty.openpty()
        ioctl(self._there, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.modes = termios.tcgetattr(self._there)
        self.text = ""
        asyncio.get_running_loop().add_reader(self._here, self._read)

    def _read(self) -> None:
        self.text += os.read(self._here, 1 << 16).decode(errors="replace")

    async def run(self, env: dict[str, str]) -> asyncio.subprocess.Process:
        """Start it, as a shell does: the terminal is its own and its signals come from there."""
        return await start(
            env,
            stdin=self._there,
            stdout=self._there,
            stderr=self._there,
            start_new_session=True,
            preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),
        )

    async def says(self, text: str) -> None:
        """Wait until that was written."""

        def found() -> None:
            assert text in self.text, self.text[-2000:]

        await eventually(found, END_S)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._here, text.encode())

    @property
    def as_it_was(self) -> bool:
        """Its modes are those from before, its own screen is shown, and the cursor."""
        left = self.text.rfind("\x1b[?1049l") > self.text.rfind("\x1b[?1049h") > -1
        cursor = self.text.rfind("\x1b[?25h") > self.text.rfind("\x1b[?25l") > -1
        return left and cursor and termios.tcgetattr(self._there) == self.modes

    def close(self) -> None:
        """Put it away."""
        asyncio.get_running_loop().remove_reader(self._here)
        os.close(self._here)
        os.close(self._there)


@pytest.fixture
async def terminal() -> AsyncIterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


async def by_q(terminal: Terminal, _: asyncio.subprocess.Process) -> None:
    terminal.type("xq")


async def by_ctrl_c(terminal: Terminal, _: asyncio.subprocess.Process) -> None:
    terminal.type("\x03")


async def by_sigterm(_: Terminal, process: asyncio.subprocess.Process) -> None:
    process.terminate()


@pytest.mark.parametrize("end", [by_q, by_ctrl_c, by_sigterm])
async def test_on_a_terminal_it_draws_until_it_is_ended_and_leaves_the_terminal_as_it_was(
    told: Told, terminal: Terminal, end: Callable[[Terminal, asyncio.subprocess.Process], Awaitable[None]]
) -> None:
    process = await terminal.run(told.env)
    await terminal.says("Time to empty")
    told.status = status(broker=statuses.gone())
    await terminal.says("RabbitMQ cannot be used")
    await end(terminal, process)
    async with asyncio.timeout(END_S):
        code = await process.wait()

    assert code == 0

    def restored() -> None:
        assert terminal.as_it_was, terminal.text[-300:]

    await eventually(restored, END_S)
    assert "Traceback" not in terminal.text
