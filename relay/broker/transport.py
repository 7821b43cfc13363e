"""The socket under a connection: how it is made, tuned, and given up."""

import asyncio
import fcntl
import socket
import ssl
import struct
import termios
from array import array
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from aiormq.connection import TransportFactory
from yarl import URL

HEARTBEATS_MISSED = 3
"""The library gives a connection up after that many heartbeats without a frame."""
NEXT_ADDRESS_S = 0.25
"""An address that has not answered for so long is not waited for alone: a name may stand for a whole cluster."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Transport(TransportFactory):
    """Makes one transport and keeps it, so that it can be reset at any time, also in the midst of a handshake."""

    def __init__(self, heartbeat_s: int) -> None:
        self._silence_s = HEARTBEATS_MISSED * (heartbeat_s + 1)
        self._writer: asyncio.StreamWriter | None = None
        self._socket: socket.socket | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; over TLS with a context made anew, so that a rotated certificate is used."""
        context: ssl.SSLContext | None = None
        if url.scheme == "amqps":
            try:
                context = await kwargs["ssl_context_provider"].get_context()
            except OSError as error:
                raise ssl.SSLError(f"cafile, capath, certfile or keyfile cannot be loaded: {error}") from error
        reader, self._writer = await asyncio.open_connection(
            url.host, url.port, ssl=context, happy_eyeballs_delay=None if _is_address(url.host) else NEXT_ADDRESS_S
        )
        # Kept, because a TLS transport that was closed twice cannot be asked for it any more.
        self._socket = self._writer.get_extra_info("socket")
        self._tune(self._socket)
        return reader, self._writer

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

    @property
    def writer(self) -> asyncio.StreamWriter:
        """What `create` made. Raises AssertionError when it has made nothing."""
        if self._writer is None:
            raise AssertionError("there is no transport")
        return self._writer

    @property
    def closing(self) -> bool:
        """It takes no more bytes."""
        return self.writer.is_closing()

    @property
    def unsent(self) -> int:
        """Bytes that the peer's kernel has not acknowledged: those we hold and those in our socket's queue."""
        if self._socket is None or self.closing:
            return 0
        queued = array("i", [0])
        with suppress(OSError):
            fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, queued)
        return queued[0] + self.writer.transport.get_write_buffer_size()

    def reset(self) -> None:
        """Close with RST: what the kernel still holds is thrown away, so the fewest messages arrive afterwards."""
        if self._writer is None or self._socket is None:
            return
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        # Early releases of Python 3.11, Debian's too, raise it for a TLS transport that has ended already.
        with suppress(AttributeError):
            self._writer.transport.abort()


def _is_address(host: str | None) -> bool:
    """Return whether there is no name to resolve, and so one address only.

    asyncio may drop a socket unclosed when an attempt at one of several addresses is cancelled.
    """
    with suppress(ValueError):
        ip_address(host or "")
        return True
    return False
