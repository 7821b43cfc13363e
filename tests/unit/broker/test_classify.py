"""What an end means, for a message and for the relay."""

import errno
import socket
import ssl
from asyncio import CancelledError

import pytest
from aiormq.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ConnectionClosed,
    ConnectionFrameError,
    ConnectionInternalError,
    ConnectionNotAllowed,
    ConnectionNotImplemented,
    ConnectionResourceError,
    IncompatibleProtocolError,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from relay.broker.classify import (
    TEXT_CHARS_MAX,
    End,
    Loss,
    Verdict,
    channel_closed,
    connect_failed,
    connection_ended,
    judge,
    not_greeted,
    reply,
    unwritten,
)
from relay.model import Fault, Outcome, Refusal, Refused, Unknown, Unreachable


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (Loss(Fault.LOST, "gone"), Unreachable(Fault.LOST, "gone", written=True)),
        (Loss(Fault.TIMEOUT, "silent"), Unreachable(Fault.TIMEOUT, "silent", written=True)),
        (Verdict(404, "404 no", alone=True), Refused(Refusal.NO_EXCHANGE, "404 no")),
        (Verdict(403, "403 no", alone=True), Refused(Refusal.FORBIDDEN, "403 no")),
        (Verdict(406, "406 no", alone=True), Refused(Refusal.BLAMED, "406 no")),
        (Verdict(404, "404 no", alone=False), Unknown("closed by the broker with others in flight: 404 no")),
    ],
)
def test_only_a_verdict_on_a_message_alone_in_flight_blames_it(end: End, outcome: Outcome) -> None:
    assert judge(end) == outcome


def test_a_message_that_never_left_cannot_have_arrived() -> None:
    assert unwritten(Loss(Fault.AUTH, "no")) == Unreachable(Fault.AUTH, "no", written=False)


@pytest.mark.parametrize(("in_flight", "alone"), [(0, False), (1, True), (2, False)])
def test_a_closed_channel_is_a_verdict(in_flight: int, alone: bool) -> None:  # noqa: FBT001 - a table's column
    assert channel_closed(406, "bad", in_flight=in_flight) == Verdict(406, "406 bad", alone=alone)


def test_a_close_without_a_code_is_a_verdict_too() -> None:
    assert channel_closed(None, None, in_flight=1) == Verdict(0, "None ", alone=True)


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (ConnectionFrameError("frame"), Verdict(501, "501 frame", alone=True)),
        (ConnectionNotImplemented("immediate"), Verdict(540, "540 immediate", alone=True)),
        (ConnectionFrameError(), Verdict(501, "501 ", alone=True)),
        (ConnectionClosed(320, "shutdown"), Loss(Fault.LOST, "320 shutdown")),
        (ConnectionClosed(None, None), Loss(Fault.LOST, "0 ")),
        (ConnectionClosed(), Loss(Fault.LOST, "0 ")),
        (ConnectionInternalError("crash"), Loss(Fault.LOST, "541 crash")),
        (ConnectionResourceError("full"), Loss(Fault.LIMIT, "506 full")),
        (ConnectionNotAllowed("channel_max"), Loss(Fault.LIMIT, "530 channel_max")),
        (AMQPConnectionError("reset"), Loss(Fault.LOST, "reset")),
        (ValueError(), Loss(Fault.LOST, "ValueError")),
        (None, Loss(Fault.LOST, "the connection was closed")),
    ],
)
def test_the_end_of_a_connection_judges_only_by_a_protocol_error(error: BaseException | None, end: End) -> None:
    assert connection_ended(error, alone=True) == end


def test_a_connection_given_up_by_the_library_is_a_loss() -> None:
    end = connection_ended(CancelledError(), alone=True)
    assert isinstance(end, Loss)
    assert end.fault is Fault.LOST


def test_a_verdict_on_a_connection_that_others_use_blames_nobody() -> None:
    assert connection_ended(ConnectionFrameError("frame"), alone=False) == Verdict(501, "501 frame", alone=False)


def caused(error: BaseException, cause: BaseException) -> BaseException:
    """The error, raised from the cause."""
    error.__cause__ = cause
    return error


def unverified() -> ssl.SSLCertVerificationError:
    """What the ssl module raises for a wrong certificate."""
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.verify_message = "unable to get local issuer certificate"
    return error


@pytest.mark.parametrize(
    ("error", "fault", "detail"),
    [
        (unverified(), Fault.TLS, "certificate verify failed: unable to get local issuer certificate"),
        (caused(AMQPConnectionError("x"), unverified()), Fault.TLS, "certificate verify failed: unable"),
        (ssl.SSLError("cafile cannot be loaded"), Fault.TLS, "cafile cannot be loaded"),
        (ProbableAuthenticationError("ACCESS_REFUSED"), Fault.AUTH, "refused the credentials"),
        (AuthenticationError(), Fault.AUTH, "refused the credentials"),
        (ConnectionClosed(403, "ACCESS_REFUSED"), Fault.AUTH, "403 ACCESS_REFUSED"),
        (ConnectionClosed(530, "access to vhost 'x' refused for user 'y'"), Fault.AUTH, "refused for user"),
        (ConnectionClosed(530, "vhost x not found"), Fault.REFUSED, "530 vhost x not found"),
        (ConnectionClosed(530, "access to vhost 'x' refused for user 'y': connection limit"), Fault.LIMIT, "limit"),
        (ConnectionClosed(320, "shutdown"), Fault.LOST, "320 shutdown"),
        (IncompatibleProtocolError(), Fault.OTHER, "does not speak AMQP"),
        (InvalidFrameError("x"), Fault.OTHER, "does not speak AMQP"),
        (socket.gaierror(-2, "Name or service not known"), Fault.UNREACHABLE, "Name or service not known"),
        (TimeoutError(), Fault.TIMEOUT, "no answer in time"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), Fault.REFUSED, "connection refused"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), Fault.UNREACHABLE, "No route to host"),
        (OSError("Multiple exceptions: [Errno 111] a, [Errno 111] b"), Fault.REFUSED, "at every address"),
        (AMQPConnectionError("Server connection unexpectedly closed."), Fault.LOST, "unexpectedly closed"),
        (ConnectionResetError(), Fault.LOST, "ConnectionResetError"),
        (RuntimeError("whatever"), Fault.OTHER, "RuntimeError"),
    ],
)
def test_a_failure_to_connect_says_what_to_look_at(error: BaseException, fault: Fault, detail: str) -> None:
    loss = connect_failed(error)
    assert loss.fault is fault
    assert detail in loss.detail


def test_a_server_that_closes_without_a_word_may_speak_the_other_protocol() -> None:
    lost = Loss(Fault.LOST, "reset")
    assert not_greeted(lost, tls=True).fault is Fault.TLS
    assert "client certificate" in not_greeted(lost, tls=True).detail
    assert not_greeted(lost, tls=False) == Loss(
        Fault.LOST, "closed without a greeting; is it a port for amqps? (reset)"
    )
    silent = Loss(Fault.TIMEOUT, "no answer in time")
    assert not_greeted(silent, tls=True) == silent


def test_the_brokers_words_are_cut_and_carry_no_octets_of_a_frame() -> None:
    text = "FRAME_ERROR - type 2, first 16 octets = <<0,60,0,0,115,101,99>>: {frame_too_large,200021,131064}"
    assert reply(501, text) == "501 FRAME_ERROR - type 2, first 16 octets = <<…>>: {frame_too_large,200021,131064}"
    assert reply(501, "octets <<1,2") == "501 octets <<…>>"
    assert len(reply(406, "x" * 1000)) == TEXT_CHARS_MAX
