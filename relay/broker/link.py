"""An open connection until its end: its channels, the bytes written to it, and why it ended. It is never reopened."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import aiormq.connection
import pamqp.frame
from aiormq.auth import AuthMechanism
from aiormq.connection import FrameReceiver
from aiormq.exceptions import ConnectionClosed
from pamqp import commands as spec
from pamqp.base import Frame
from pamqp.frame import FrameTypes

from relay.broker.channel import ConfirmChannel
from relay.broker.classify import End, Loss, connect_failed, connection_ended
from relay.broker.transport import Transport
from relay.broker.within import within
from relay.model import Fault

CHANNELS_MAX = 65535
GOODBYE_S = 2.0
"""After its end the library may still answer the broker's close; then the socket is reset."""
CLOSED = Loss(Fault.LOST, "closed by the relay")


class Connection(aiormq.connection.Connection):
    """The library's connection, but that it tells of a block at once and keeps the broker's words at a refusal."""

    on_blocked: Callable[[str], None] | None = None
    greeted = False
    """The server has said that it speaks AMQP."""

    def _credentials_class(self, start_frame: spec.Connection.Start) -> AuthMechanism:
        """Choose as the library does; that it is asked to tells of the greeting."""
        self.greeted = True
        return super()._credentials_class(start_frame)

    async def _Connection__handle_connection_blocked(self, frame: spec.Connection.Blocked) -> None:  # noqa: N802
        """Stand in for the library's private handler of that name, which only writes a log line."""
        if self.on_blocked is not None:
            self.on_blocked(frame.reason or "")

    @staticmethod
    async def _rpc(
        request: Frame,
        writer: asyncio.StreamWriter,
        frame_receiver: FrameReceiver,
        wait_response: bool = True,  # noqa: FBT001, FBT002 - the library's signature
    ) -> FrameTypes | None:
        """Ask a question of the handshake; raise ConnectionClosed with the broker's code and text when it refuses.

        The library's own loses both when the broker refuses the vhost, because it expects another frame there.
        """
        writer.write(pamqp.frame.marshal(request, 0))
        await writer.drain()
        if not wait_response:
            return None
        _, _, frame = await frame_receiver.get_frame()
        if isinstance(frame, spec.Connection.Close):
            raise ConnectionClosed(frame.reply_code, frame.reply_text)
        return frame


class Link:
    """A connection and its pool of channels; the `end` is final, and known before any call on it fails."""

    def __init__(self, connection: Connection, transport: Transport, *, timeout_s: float, private: bool) -> None:
        """`private`: nothing but one message will travel on it, so a close of it can judge that message."""
        self.end: End | None = None
        self.frame_max: int = connection.connection_tune.frame_max
        self._connection = connection
        self._transport = transport
        self._timeout_s = timeout_s
        self._private = private
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._channels: set[ConfirmChannel] = set()
        self._free: list[ConfirmChannel] = []
        self._number = 0
        self._retiring: set[asyncio.Task[None]] = set()
        connection.on_blocked = self._on_blocked
        # All frames before the last one were heard when the reader ends, and nothing of the clean-up has begun.
        connection._reader_task.add_done_callback(self._on_reader_done)  # noqa: SLF001 - the earliest word of an end

    # -- bytes --------------------------------------------------------------------------------------------------

    @property
    def closing(self) -> bool:
        """The transport takes no more bytes; the end is about to be known."""
        return self._transport.closing

    def write(self, data: bytes) -> None:
        """Hand whole messages to the socket at once, so that no other frame comes between theirs."""
        self._transport.writer.write(data)

    @property
    def unsent(self) -> int:
        """Bytes that have not reached the other side."""
        return self._transport.unsent

    async def drained(self, seconds: float) -> bool:
        """Wait until the socket has taken most of what was written, at most so long; return whether it takes more."""
        try:
            async with asyncio.timeout(seconds):
                await self._transport.writer.drain()
        except TimeoutError:
            return False
        except OSError:  # the reader meets the same error and tells the end
            await self.ended(seconds)
        return not self.closing

    async def ended(self, seconds: float) -> None:
        """Wait for the end, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    # -- channels -----------------------------------------------------------------------------------------------

    async def channel(self) -> ConfirmChannel | Loss:
        """Take a free channel, or open one."""
        return self.free_channel() or await self._open_channel()

    def free_channel(self) -> ConfirmChannel | None:
        """Take a free channel if there is one."""
        while self._free:
            channel = self._free.pop()
            if channel.end is None:
                return channel
        return None

    async def _open_channel(self) -> ConfirmChannel | Loss:
        if self.end is not None:
            return as_loss(self.end)
        number = self._next_number()
        channel = ConfirmChannel(self._connection, number, broken=self.abort)
        self._connection.channels[number] = channel
        self._channels = {each for each in self._channels if each.end is None} | {channel}
        opened = False
        try:
            await within(self._timeout_s, channel.open())
            opened = True
        except Exception as error:  # noqa: BLE001 - whatever it is: a connection without channels is of no use
            self.abort(connect_failed(error))
        finally:
            if not opened:
                channel.finish(CLOSED)
        return channel if channel.end is None else as_loss(channel.end)

    def give_back(self, channel: ConfirmChannel) -> None:
        """Take a channel back; with something in flight it must rest first, or its confirms would come to the next."""
        if channel.end is not None:
            return
        if not channel.in_flight:
            channel.take()  # answers that nobody waited for must not meet the next batch
            self._free.append(channel)
            return
        task = self._loop.create_task(self._retire(channel))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, channel: ConfirmChannel) -> None:
        """Let a channel come to rest before it is used again, or closed when it does not.

        Closed at once, our close could cross one of the broker's, which costs the connection (504).
        """
        await channel.settled(self._timeout_s)
        if channel.end is None and channel.in_flight:
            channel.finish(CLOSED)
            with suppress(Exception):
                await within(self._timeout_s, channel.close())
        else:
            self.give_back(channel)

    def _next_number(self) -> int:
        """Choose the number least recently used: a closed channel's one is not quite free until CloseOk is out."""
        highest = self._connection.connection_tune.channel_max or CHANNELS_MAX
        for _ in range(highest):
            self._number = self._number % highest + 1
            if self._number not in self._connection.channels:
                break
        return self._number

    # -- the end ------------------------------------------------------------------------------------------------

    def abort(self, loss: Loss) -> None:
        """Give the connection up at once, with RST."""
        self._finish(loss)
        self._transport.reset()

    async def close(self, grace_s: float) -> None:
        """Say goodbye within `grace_s` seconds, or reset."""
        self._finish(CLOSED)
        with suppress(Exception):
            await within(grace_s, self._connection.close())
        self._transport.reset()
        await asyncio.sleep(0)  # lets the transport close its socket

    def _finish(self, end: End) -> None:
        if self.end is None:
            self.end = end
            self._ended.set()
            for channel in self._channels:
                channel.finish(end)

    def _on_blocked(self, reason: str) -> None:
        """Drop a connection that confirms nothing any more; what the broker has read may still arrive."""
        self.abort(Loss(Fault.BLOCKED, f"the broker blocks publishers: {reason or 'no reason given'}"))

    def _on_reader_done(self, reader: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError() if reader.cancelled() else reader.exception()
        # On a shared connection even the close of some other channel may be what the broker objects to.
        alone = self._private and sum(channel.in_flight for channel in self._channels) == 1
        self._finish(connection_ended(error, alone=alone))
        self._loop.call_later(GOODBYE_S, self._transport.reset)


def as_loss(end: End) -> Loss:
    """Take an end as the reason why nothing can be asked on the connection any more."""
    return end if isinstance(end, Loss) else Loss(Fault.LOST, end.text)
