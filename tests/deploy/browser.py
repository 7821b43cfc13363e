"""Chromium without a window, told what to do over a pipe in its own protocol (DevTools); nothing is downloaded."""

import asyncio
import base64
import fcntl
import itertools
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ANSWER_S = 30.0
END_S = 10.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PHONE_PX = 600
"""Narrower than this it is a phone, which zooms out of what is too wide instead of cutting it off."""
READ, WRITE = 3, 4
"""Where Chromium looks for its pipe."""


@dataclass(frozen=True, slots=True)
class Look:
    """A page as it was seen once."""

    picture: bytes
    """What stands in the window, as PNG."""
    requests: tuple[str, ...]
    """Every address that was asked for anything."""
    complaints: tuple[str, ...]
    """What stands in the console, what the policy refused included."""
    width_px: int
    """What the content takes; more than the window is as wide means that one has to scroll."""
    text: str


class Browser:
    """A running Chromium."""

    def __init__(self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, pipe: int) -> None:
        self._process = process
        self._reader = reader
        self._pipe = pipe
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._events: list[dict[str, Any]] = []
        self._news = asyncio.Condition()
        self._listener = asyncio.create_task(self._listen())

    async def look(self, url: str, *, width: int, height: int, dark: bool) -> Look:
        """Open a page in a tab of its own, wait until it has loaded, and look at it."""
        target = (await self._ask("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self._ask("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        begun = len(self._events)
        for domain in ("Page", "Network", "Log", "Runtime"):
            await self._ask(f"{domain}.enable", session)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < PHONE_PX}
        await self._ask("Emulation.setDeviceMetricsOverride", session, **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self._ask("Emulation.setEmulatedMedia", session, features=scheme)
        await self._ask("Page.navigate", session, url=url)
        await self._until("Page.loadEventFired", session, begun)
        wide = await self.run(session, "document.documentElement.scrollWidth")
        text = await self.run(session, "document.body.innerText")
        taken = await self._ask("Page.captureScreenshot", session, format="png", captureBeyondViewport=False)
        seen = [each for each in self._events[begun:] if each.get("sessionId") == session]
        await self._ask("Target.closeTarget", targetId=target)
        return Look(
            picture=base64.b64decode(taken["data"]),
            requests=tuple(
                each["params"]["request"]["url"] for each in seen if each["method"] == "Network.requestWillBeSent"
            ),
            complaints=tuple(
                json.dumps(each["params"])
                for each in seen
                if each["method"] in {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
            ),
            width_px=int(wide),
            text=str(text),
        )

    async def run(self, session: str, expression: str) -> Any:
        """Evaluate an expression in a page: the tools of a developer may, the page itself may not."""
        answer = await self._ask("Runtime.evaluate", session, expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"]["value"]

    async def _ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        answered = self._answers[number] = asyncio.get_running_loop().create_future()
        os.write(self._pipe, json.dumps(message).encode() + b"\0")
        async with asyncio.timeout(ANSWER_S):
            answer = await answered
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    async def _until(self, method: str, session: str, begun: int) -> None:
        def came() -> bool:
            return any(each["method"] == method and each["sessionId"] == session for each in self._events[begun:])

        async with asyncio.timeout(ANSWER_S), self._news:
            await self._news.wait_for(came)

    async def _listen(self) -> None:
        while True:
            message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            else:
                async with self._news:
                    self._events.append(message)
                    self._news.notify_all()

    async def close(self) -> None:
        """End it with all its children."""
        self._listener.cancel()
        await asyncio.wait({self._listener})
        os.close(self._pipe)
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Browser]:
    """A Chromium that knows nothing and keeps its things in `folder`; ended after."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # Out of the way of 3 and 4, where the shell puts them.
    theirs = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (theirs_in, theirs_out)]
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f'exec "$@" {READ}<&{theirs[0]} {WRITE}>&{theirs[1]}', "bash"),
        *("chromium", *FLAGS, f"--user-data-dir={folder}", "about:blank"),
        env=os.environ | {"HOME": str(folder)},
        pass_fds=theirs,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    for each in (theirs_in, theirs_out, *theirs):
        os.close(each)
    reader = asyncio.StreamReader(limit=1 << 26)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours_in, "rb")
    )
    made = Browser(process, reader, ours_out)
    try:
        yield made
    finally:
        await made.close()
        transport.close()
