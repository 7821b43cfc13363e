"""A TCP proxy that can be told to harm: the network's faults, made on purpose."""

import asyncio
import contextlib
import re
import socket
import struct
from typing import Literal

Direction = Literal["up", "down"]
"""`up`: from the client to the server."""

CHUNK = 65536


class _Pair:
    """One client's connection and the one to the server behind it."""

    def __init__(self, writers: dict[Direction, asyncio.StreamWriter]) -> None:
        self.writers = writers

    def reset(self) -> None:
        """Close both with RST instead of FIN."""
        for writer in self.writers.values():
            raw = writer.get_extra_info("socket")
            if raw is not None:
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """Listens on 127.0.0.1 and carries bytes to `host:port`, or does not.

    Held bytes are kept, not dropped: a partition that heals lets them through, as TCP would.
    """

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.port = 0
        self.accepted = 0
        """Connections taken since the start."""
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        """Bytes carried each way."""
        self._server: asyncio.Server | None = None
        self._open: dict[Direction, asyncio.Event] = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._delay_s = 0.0
        self._budget: dict[Direction, int | None] = {"up": None, "down": None}
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> "Proxy":
        """Listen; the port is chosen once and kept."""
        for gate in self._open.values():
            gate.set()
        await self._listen()
        return self

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def url(self, url: str) -> str:
        """That URL of the server, leading through this proxy."""
        return re.sub(r"@[^/?]+", f"@127.0.0.1:{self.port}", url, count=1)

    async def pass_all(self) -> None:
        """Carry everything again, also what was held, and listen again."""
        self._delay_s = 0.0
        self._budget = {"up": None, "down": None}
        for gate in self._open.values():
            gate.set()
        if self._server is None:
            await self._listen()

    def blackhole(self) -> None:
        """Hold everything both ways; connecting succeeds and nothing answers."""
        self.hold("up")
        self.hold("down")

    def hold(self, direction: Direction) -> None:
        """Hold one direction only."""
        self._open[direction].clear()

    def delay(self, seconds: float) -> None:
        """Carry every chunk that much later."""
        self._delay_s = seconds

    def cut_after(self, count: int, direction: Direction = "up") -> None:
        """Let `count` more bytes through that way, all connections together, then reset the one that sent them."""
        self._budget[direction] = count

    async def refuse(self) -> None:
        """Refuse new connections; open ones stay."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await asyncio.sleep(0)

    def reset_all(self) -> None:
        """RST every open connection; new ones are taken."""
        for pair in list(self._pairs):
            pair.reset()

    async def close(self) -> None:
        """Stop listening and end every connection."""
        await self.refuse()
        self.reset_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        pair = _Pair({"down": writer})
        self._pairs.add(pair)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._open["up"].wait()
                server_reader, server_writer = await asyncio.open_connection(*self.target)
                pair.writers["up"] = server_writer
                await asyncio.gather(
                    self._pump(reader, server_writer, "up", pair), self._pump(server_reader, writer, "down", pair)
                )
        finally:
            for each in pair.writers.values():
                each.transport.abort()
            self._pairs.discard(pair)
            self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction, pair: _Pair
    ) -> None:
        while chunk := await reader.read(CHUNK):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._open[direction].wait()
            budget = self._budget[direction]
            if budget is not None:
                chunk = chunk[:budget]
                self._budget[direction] = budget - len(chunk)
            writer.write(chunk)
            self.passed[direction] += len(chunk)
            await writer.drain()
            if self._budget[direction] == 0:
                pair.reset()
                return
        if writer.can_write_eof():
            writer.write_eof()
