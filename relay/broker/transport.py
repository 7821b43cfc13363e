"""The socket under a connection: how it is made, tuned, and given up."""

import asyncio
import socket
import ssl
import struct
from contextlib import suppress
from typing import Any

from aiormq.connection import TransportFactory
from yarl import URL

HEARTBEATS_MISSED = 3
"""The library gives a connection up after that many heartbeats without a frame."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Transport(TransportFactory):
    """Makes one transport and keeps it, so that it can be reset at any time, also in the midst of a handshake."""

    def __init__(self, heartbeat_s: int) -> None:
        self._silence_s = HEARTBEATS_MISSED * (heartbeat_s + 1)
        self.writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; over TLS with a context made anew, so that a rotated certificate is used."""
        context: ssl.SSLContext | None = None
        if url.scheme == "amqps":
            try:
                context = await kwargs["ssl_context_provider"].get_context()
            except OSError as error:
                raise ssl.SSLError(f"cafile, capath, certfile or keyfile cannot be loaded: {error}") from error
        reader, self.writer = await asyncio.open_connection(url.host, url.port, ssl=context)
        self._tune(self.writer.get_extra_info("socket"))
        return reader, self.writer

    def _tune(self, raw: socket.socket) -> None:
        """Let the kernel notice a dead peer about when the heartbeats do."""
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", max(1, self._silence_s // 2)),
            ("TCP_KEEPINTVL", max(1, self._silence_s // 6)),
            ("TCP_KEEPCNT", HEARTBEATS_MISSED),
            ("TCP_USER_TIMEOUT", self._silence_s * 1000),
        ):
            if (option := getattr(socket, name, None)) is not None:  # Linux has them all
                raw.setsockopt(socket.IPPROTO_TCP, option, value)

    def reset(self) -> None:
        """Give up whatever was made."""
        if self.writer is not None:
            reset(self.writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST: what the kernel still holds is thrown away, so the fewest messages arrive after we gave up."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
