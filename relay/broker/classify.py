"""What an end means: exceptions and close codes → why it ended, and the end → outcomes. Pure.

A *verdict* is a close by which the broker judges a message; a *loss* says nothing about any message. A verdict blames
only a message that was alone in flight: the broker's reply is addressed to nobody, so with others in flight each of
them may be the guilty one, and each may have arrived.
"""

import errno
import re
import socket
import ssl
from asyncio import CancelledError
from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from aiormq.connection import EXCEPTION_MAPPING
from aiormq.exceptions import (
    AuthenticationError,
    ConnectionClosed,
    IncompatibleProtocolError,
    ProbableAuthenticationError,
    ProtocolSyntaxError,
)

from relay.model import Fault, Outcome, Refusal, Refused, Unknown, Unreachable

TEXT_CHARS_MAX = 240
NOT_FOUND, ACCESS_REFUSED, CONNECTION_FORCED, NOT_ALLOWED = 404, 403, 320, 530
VERDICTS = frozenset({501, 502, 503, 504, 505, 540})
"""Codes of a closed connection that judge what was sent; any other end of a connection judges nothing."""
LIMITS = frozenset({506, NOT_ALLOWED})
_CODE_OF = {error: code for code, error in EXCEPTION_MAPPING.items()}
_BINARY = re.compile(r"<<.*?(?:>>|$)", re.DOTALL)
_REFUSED = f"[Errno {errno.ECONNREFUSED}]"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The broker closed the channel, or the connection, because of something that was sent."""

    code: int
    text: str
    alone: bool
    """Exactly one message was in flight, so it is the one that was judged."""


@dataclass(frozen=True, slots=True)
class Loss:
    """It ended, or never began, for a reason that has nothing to do with a message."""

    fault: Fault
    detail: str


End = Verdict | Loss


def judge(end: End) -> Outcome:
    """Return what became of a message that was written and still unconfirmed at the end."""
    match end:
        case Loss(fault=fault, detail=detail):
            return Unreachable(fault, detail, written=True)
        case Verdict(alone=False, text=text):
            return Unknown(f"closed by the broker with others in flight: {text}")
        case Verdict(code=code, text=text):
            reason = {NOT_FOUND: Refusal.NO_EXCHANGE, ACCESS_REFUSED: Refusal.FORBIDDEN}.get(code, Refusal.BLAMED)
            return Refused(reason, text)
        case _:
            assert_never(end)


def unwritten(loss: Loss) -> Unreachable:
    """Return what became of a message that never left the relay."""
    return Unreachable(loss.fault, loss.detail, written=False)


def reply(code: int | None, text: str | None) -> str:
    """Quote the broker, cut short, without the octets of a frame that some replies carry."""
    return f"{code} {_BINARY.sub('<<…>>', text or '')}"[:TEXT_CHARS_MAX]


def connection_ended(error: BaseException | None, *, alone: bool) -> End:
    """Say why a connection ended, given what ended its reader (None: the broker answered our own close).

    `alone`: one message was in flight and nothing else has happened on the connection that could be judged.
    """
    if isinstance(error, ConnectionClosed):
        code, text = _code_and_text(error)
        if code in VERDICTS:
            return Verdict(code, reply(code, text), alone=alone)
        return Loss(Fault.LIMIT if code in LIMITS else Fault.LOST, reply(code, text))
    if isinstance(error, CancelledError):
        return Loss(Fault.LOST, "the connection was closed, or the broker was silent for three heartbeats")
    if error is None:
        return Loss(Fault.LOST, "the connection was closed")
    return Loss(Fault.LOST, _brief(error))


def channel_closed(code: int | None, text: str | None, *, in_flight: int) -> Verdict:
    """Take the broker's close of a channel: always a judgement about something sent on it."""
    return Verdict(code or 0, reply(code, text), alone=in_flight == 1)


def connect_failed(error: BaseException) -> Loss:
    """Say why no connection, or no channel, could be opened; the detail names no credentials."""
    chain = tuple(_causes(error))
    for cause in chain:
        if (loss := _tls(cause) or _refused_by_broker(cause) or _network(cause)) is not None:
            return loss
    if isinstance(error, OSError):
        return Loss(Fault.LOST, _brief(error))
    return Loss(Fault.OTHER, type(error).__name__)


def not_greeted(loss: Loss, *, tls: bool) -> Loss:
    """Guess why a server closed before it said a word: a refused client certificate looks like a mere reset."""
    if loss.fault is not Fault.LOST:
        return loss
    if tls:
        question = "does the broker want a client certificate that it trusts?"
        return Loss(Fault.TLS, f"closed right after the TLS handshake; {question} ({loss.detail})")
    return Loss(Fault.LOST, f"closed without a greeting; is it a port for amqps? ({loss.detail})")


def _tls(error: BaseException) -> Loss | None:
    match error:
        case ssl.SSLCertVerificationError(verify_message=message):
            return Loss(Fault.TLS, f"certificate verify failed: {message}")
        case ssl.SSLError():
            reason = getattr(error, "reason", None)  # only the ssl module's own errors have it
            return Loss(Fault.TLS, str(reason or error)[:TEXT_CHARS_MAX])
        case _:
            return None


def _refused_by_broker(error: BaseException) -> Loss | None:
    match error:
        case ProbableAuthenticationError() | AuthenticationError():
            return Loss(Fault.AUTH, "the broker refused the credentials or the mechanism")
        case ConnectionClosed():
            code, text = _code_and_text(error)
            return Loss(_refusal_fault(code, text), reply(code, text))
        case IncompatibleProtocolError() | ProtocolSyntaxError():
            return Loss(Fault.OTHER, "the server does not speak AMQP 0-9-1 at this port")
        case _:
            return None


def _refusal_fault(code: int, text: str) -> Fault:
    if "limit" in text.lower():  # before the next: "access to vhost refused for user …: connection limit reached"
        return Fault.LIMIT
    if code == ACCESS_REFUSED or (code == NOT_ALLOWED and "refused for user" in text):
        return Fault.AUTH
    return Fault.LOST if code == CONNECTION_FORCED else Fault.REFUSED


def _network(error: BaseException) -> Loss | None:
    match error:
        case socket.gaierror():
            return Loss(Fault.UNREACHABLE, f"the host name cannot be resolved: {error.strerror}")
        case TimeoutError():
            return Loss(Fault.TIMEOUT, "no answer in time")
        case ConnectionRefusedError():
            return Loss(Fault.REFUSED, "connection refused")
        case OSError() if error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN}:
            return Loss(Fault.UNREACHABLE, str(error.strerror))
        case OSError() if _REFUSED in str(error):  # asyncio joins the errors of several addresses into one text
            return Loss(Fault.REFUSED, "connection refused at every address")
        case _:
            return None


def _code_and_text(error: ConnectionClosed) -> tuple[int, str]:
    """Read a close: the mapped classes carry the text alone, the general one the code and the text."""
    if (code := _CODE_OF.get(type(error))) is not None:
        return code, str(error.args[0] if error.args else "")
    code, text = (*error.args, None, None)[:2]
    return int(code or 0), str(text or "")


def _brief(error: BaseException) -> str:
    return str(error)[:TEXT_CHARS_MAX] or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
