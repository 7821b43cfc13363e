"""The real `relay` command as a process, with its log read line by line."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.builders import Amqp, Database, eventually

START_S = 20.0
END_S = 30.0


class RelayProcess:
    """One `relay run`; `events` are its log lines so far, `code` its exit code once it ended."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.events: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.stderr = ""
        self._readers = [asyncio.create_task(self._read_log()), asyncio.create_task(self._read_errors())]

    async def _read_log(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(line.decode())
            self.events.append(json.loads(line))

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self.stderr = (await self._process.stderr.read()).decode()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def seen(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The log lines of that event with those fields."""
        return [each for each in self.events if each["event"] == event and fields.items() <= each.items()]

    async def says(self, event: str, timeout: float = START_S, **fields: Any) -> dict[str, Any]:  # noqa: ASYNC109 -- fails with the log's own words
        """Wait for a log line; return it."""

        def found() -> None:
            assert self.seen(event, **fields), f"no {event} {fields} in {self.events[-8:]} {self.stderr[-500:]}"

        await eventually(found, timeout)
        return self.seen(event, **fields)[-1]

    async def port(self) -> int:
        """Where its pages are."""
        return int((await self.says("web.started"))["port"])

    async def get(self, path: str) -> tuple[int, str]:
        """Read one of its pages."""
        url = f"http://127.0.0.1:{await self.port()}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, await answer.text()

    async def status(self) -> dict[str, Any]:
        """Its /status."""
        status: dict[str, Any] = json.loads((await self.get("/status"))[1])
        return status

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def ended(self, timeout: float = END_S) -> int:  # noqa: ASYNC109 -- one limit for the process and its pipes
        """Wait for its end; its exit code."""
        async with asyncio.timeout(timeout):
            code = await self._process.wait()
            await asyncio.gather(*self._readers)
        return code

    async def stop(self) -> int:
        """Send SIGTERM and wait for the end."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def close(self) -> None:
        """Leave nothing behind."""
        if self._process.returncode is None:
            self._process.kill()
        await self.ended()


def environment(database_url: str, amqp_url: str, settings: Mapping[str, object] | None = None) -> dict[str, str]:
    """The whole environment of a relay under test; `settings` without their prefix."""
    ours = {
        "DATABASE_URL": database_url,
        "AMQP_URL": amqp_url,
        "EXCHANGE": "orders",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": 0,
        "OUTAGE_SLEEP_SECONDS": 1,
        "NAME": "test-relay",
    } | dict(settings or {})
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "PG"))}
    return clean | {f"RELAY_{name}": str(value) for name, value in ours.items()}


async def start(env: Mapping[str, str], *args: str) -> RelayProcess:
    """Start `relay run`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "relay", "run", *args),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 22,
    )
    return RelayProcess(process)


@asynccontextmanager
async def relay(db: Database, amqp: Amqp, *args: str, **settings: object) -> AsyncIterator[RelayProcess]:
    """A running relay between a test's database and its broker; ended with the test."""
    process = await start(environment(db.url, amqp.url, settings), *args)
    try:
        yield process
    finally:
        await process.close()


async def command(env: Mapping[str, str], *args: str) -> tuple[int, str, str]:
    """Run another command of the CLI to its end: exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "relay", *args),
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(END_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
