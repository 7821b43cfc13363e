"""One batch on one channel, from its first byte to its last answer."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence

from relay.broker.channel import ConfirmChannel
from relay.broker.classify import Loss
from relay.broker.link import Link
from relay.broker.wire import encode
from relay.model import Answer, Envelope, Fault, Refused

FLUSH_S = 0.1
"""Answers are given at least that often."""
_WAIT_S = FLUSH_S / 2
"""A round waits at most twice."""
WRITE_BYTES = 1 << 20
"""At most so much is handed to the socket before it must have taken it; a larger message goes by itself."""

Message = tuple[int, bytes]
"""A row's id and its frames."""


def load(
    envelopes: Sequence[Envelope], refused: Mapping[str, Refused], channel: int, frame_max: int
) -> tuple[deque[Message], list[Answer]]:
    """Encode the envelopes whose exchange is not refused; answer for the others and for what cannot be encoded."""
    messages: deque[Message] = deque()
    answers: list[Answer] = []
    for envelope in envelopes:
        data = refused.get(envelope.exchange) or encode(envelope, channel, frame_max)
        if isinstance(data, Refused):
            answers.append(Answer(envelope.row_id, data))
        else:
            messages.append((envelope.row_id, data))
    return messages, answers


async def fly(
    link: Link, channel: ConfirmChannel, messages: deque[Message], *, confirm_timeout_s: float
) -> AsyncGenerator[Sequence[Answer], None]:
    """Write the messages and give the answers as they come, an empty sequence when there are none for a while.

    Messages are taken off the deque as they are written, and each of those is answered. What is left at the end was
    never written. When for `confirm_timeout_s` seconds no confirm came and the socket took nothing, the broker is given
    up.
    """
    loop = asyncio.get_running_loop()
    moved_at, unsent = loop.time(), 0.0
    while channel.end is None and (messages or channel.in_flight):
        if link.closing:
            await link.ended(_WAIT_S)
        elif await link.drained(_WAIT_S):
            if messages:
                row_ids, data = _chunk(messages)
                channel.expect(row_ids)
                link.write(data)
                unsent = math.inf
            else:
                await channel.settled(_WAIT_S)
        if link.unsent < unsent:
            moved_at, unsent = loop.time(), link.unsent
        if loop.time() - max(moved_at, channel.heard_at) > confirm_timeout_s:
            link.abort(Loss(Fault.TIMEOUT, f"no confirm within {confirm_timeout_s:g} s"))
        yield channel.take()
    if answers := channel.take():
        yield answers


def _chunk(messages: deque[Message]) -> tuple[list[int], bytes]:
    """Take whole messages, up to WRITE_BYTES in all."""
    row_ids: list[int] = []
    parts: list[bytes] = []
    size = 0
    while messages and (not parts or size + len(messages[0][1]) <= WRITE_BYTES):
        row_id, data = messages.popleft()
        row_ids.append(row_id)
        parts.append(data)
        size += len(data)
    return row_ids, b"".join(parts)
