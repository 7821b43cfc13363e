"""A consumer that writes down when each message came, and does nothing else while they come.

Run as a process of its own. A quorum queue delivers a message when a majority has it in its log, which is when the
publisher's confirm is sent: an arrival stands for the confirm, seen by the same clock as the commit. It says
`consumer.ready`, and when it has as many rows as wanted `consumer.done`, with the first arrival of each by its id, in
the order of the queue.

It reads the socket itself: a client library takes a message apart before anyone is told that it came, which delays it
and the next ones, and takes from the cores that are shared with what is measured.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from struct import Struct
from typing import Any
from urllib.parse import unquote, urlsplit

from pamqp import commands as spec
from pamqp import frame
from pamqp.header import ContentHeader

from relay.envelope import ID_HEADER

URL_VARIABLE, QUEUE_VARIABLE, ROWS_VARIABLE = "CONSUMER_URL", "CONSUMER_QUEUE", "CONSUMER_ROWS"
PROTOCOL = b"AMQP\x00\x00\x09\x01"
HEADER = 2
"""The type of the frame of which a message has exactly one."""
READ_BYTES = 1 << 20
CHANNEL = 1
_start = Struct(">BHI")


def consume(url: str, queue_name: str, rows: int) -> dict[int, float]:
    """Take so many rows; nothing is acked, so that the consumer costs as little as it can."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as raw:
        data = _subscribe(raw, parts.username or "", parts.password or "", unquote(parts.path[1:]), queue_name)
        _say("consumer.ready")
        came: list[tuple[float, bytes]] = []
        while True:
            now = time.monotonic()
            found, data = cut(data)
            came += [(now, each) for each in found if each[0] == HEADER]
            if len(came) >= rows:
                return _by_id(came)
            data += _read(raw)


def cut(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the whole frames, and the beginning of the next one."""
    found, at = [], 0
    while len(data) - at >= _start.size:
        end = at + _start.size + _start.unpack_from(data, at)[2] + 1
        if end > len(data):
            break
        found.append(data[at:end])
        at = end
    return found, data[at:]


class _Talk:
    """What is said before the first message comes."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self.rest = b""
        """What came behind the last answer."""

    def ask(self, word: bytes) -> Any:
        """Say it and return the answer. Raises ConnectionError when the broker closes instead."""
        self._raw.sendall(word)
        while not (found := cut(self.rest))[0]:
            self.rest += _read(self._raw)
        self.rest = self.rest[len(found[0][0]) :]
        answer = frame.unmarshal(found[0][0])[2]
        if isinstance(answer, spec.Connection.Close | spec.Channel.Close):
            raise ConnectionError(answer.reply_text)
        return answer


def _subscribe(raw: socket.socket, user: str, password: str, vhost: str, queue_name: str) -> bytes:
    """Connect, without heartbeats, and consume; return what came behind the broker's last answer."""
    talk = _Talk(raw)
    talk.ask(PROTOCOL)
    tune = talk.ask(frame.marshal(spec.Connection.StartOk({}, "PLAIN", f"\0{user}\0{password}", "en_US"), 0))
    limits = frame.marshal(spec.Connection.TuneOk(tune.channel_max, tune.frame_max, 0), 0)
    talk.ask(limits + frame.marshal(spec.Connection.Open(vhost), 0))
    talk.ask(frame.marshal(spec.Channel.Open(), CHANNEL))
    talk.ask(frame.marshal(spec.Basic.Consume(queue=queue_name, no_ack=True), CHANNEL))
    return talk.rest


def _read(raw: socket.socket) -> bytes:
    data = raw.recv(READ_BYTES)
    if not data:
        raise ConnectionError("the broker closed the connection")
    return data


def _by_id(came: Sequence[tuple[float, bytes]]) -> dict[int, float]:
    arrived: dict[int, float] = {}
    for at, data in came:
        header = frame.unmarshal(data)[2]
        assert isinstance(header, ContentHeader)
        arrived.setdefault(int(str((header.properties.headers or {})[ID_HEADER])), at)
    return arrived


def _say(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Consume as the environment says."""
    url, queue_name, rows = (os.environ[name] for name in (URL_VARIABLE, QUEUE_VARIABLE, ROWS_VARIABLE))
    _say("consumer.done", at=consume(url, queue_name, int(rows)))


if __name__ == "__main__":
    main()
