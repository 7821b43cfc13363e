"""The bytes of a publish: those that pamqp makes, and a refusal of what AMQP cannot carry."""

from datetime import UTC, datetime
from typing import Any

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from relay.broker.wire import FRAME_MAX_UNSET, encode
from relay.envelope import SHORT_STRING_BYTES
from relay.model import Envelope, HeaderValue, Refusal, Refused
from tests.publishing import envelope

FRAME_MAX = 4096
PAMQP_NAMES = {"type": "message_type"}

texts = st.text(max_size=30).filter(lambda text: "\x00" not in text)
shorts = texts.filter(lambda text: len(text.encode()) <= SHORT_STRING_BYTES)
names = st.text(min_size=1, max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
properties = st.fixed_dictionaries(
    {},
    optional={
        "type": shorts,
        "correlation_id": shorts,
        "reply_to": shorts,
        "content_encoding": shorts,
        "app_id": shorts,
        "expiration": st.integers(0, 2**32 - 1).map(str),
        "priority": st.integers(0, 255),
    },
)
sealed = st.builds(
    lambda row_id, headers, **fields: envelope(row_id, headers=headers, **fields),
    row_id=st.integers(1, 2**63 - 1),
    headers=st.dictionaries(names, values, max_size=6),
    exchange=st.from_regex(r"[a-zA-Z0-9\-_.:]{0,40}", fullmatch=True),
    routing_key=shorts,
    body=st.binary(max_size=FRAME_MAX * 2),
    message_id=shorts,
    content_type=shorts,
    created_at=st.floats(0, datetime.max.replace(tzinfo=UTC).timestamp() - 1),
    properties=properties,
)


def by_pamqp(sent: Envelope, channel: int, frame_max: int) -> bytes:
    """The same publish, made by the library."""
    given: dict[str, Any] = {PAMQP_NAMES.get(name, name): value for name, value in sent.properties.items()}
    given |= {
        "message_id": sent.message_id,
        "timestamp": datetime.fromtimestamp(int(sent.created_at), UTC),
        "content_type": sent.content_type,
    }
    content = spec.Basic.Properties(delivery_mode=2, headers=dict[str, Any](sent.headers), **given)
    publish = spec.Basic.Publish(exchange=sent.exchange, routing_key=sent.routing_key, mandatory=True)
    frames: list[Any] = [publish, ContentHeader(body_size=len(sent.body), properties=content)]
    step = frame_max - 8
    frames += [ContentBody(sent.body[start : start + step]) for start in range(0, len(sent.body), step)]
    return b"".join(pamqp.frame.marshal(frame, channel) for frame in frames)


@given(sealed, st.integers(1, 65535))
def test_the_bytes_are_those_of_pamqp(sent: Envelope, channel: int) -> None:
    assert encode(sent, channel, FRAME_MAX) == by_pamqp(sent, channel, FRAME_MAX)


@given(sealed)
def test_a_returned_message_can_be_read_back(sent: Envelope) -> None:
    data = encode(sent, 1, FRAME_MAX)
    assert isinstance(data, bytes)
    method_size, _, _ = pamqp.frame.unmarshal(data)
    _, _, header = pamqp.frame.unmarshal(data[method_size:])
    assert isinstance(header, ContentHeader)
    assert (header.properties.headers or {})["x-outbox-id"] == sent.row_id
    assert header.body_size == len(sent.body)


@pytest.mark.parametrize("size", [0, 1, FRAME_MAX - 9, FRAME_MAX - 8, FRAME_MAX - 7, FRAME_MAX * 3])
def test_a_body_is_split_at_the_frame_limit(size: int) -> None:
    sent = envelope(1, body=b"x" * size)
    assert encode(sent, 7, FRAME_MAX) == by_pamqp(sent, 7, FRAME_MAX)


def test_a_broker_without_a_frame_limit_gets_frames_of_the_usual_size() -> None:
    sent = envelope(1, body=b"x" * (FRAME_MAX_UNSET + 1))
    assert encode(sent, 1, 0) == by_pamqp(sent, 1, FRAME_MAX_UNSET)


def test_an_exchange_may_have_any_name_that_the_broker_allows() -> None:
    data = encode(envelope(1, exchange="orders & more"), 1, FRAME_MAX)
    assert isinstance(data, bytes)
    assert b"\x0dorders & more" in data


def header_of(size: int) -> dict[str, HeaderValue]:
    """Headers that make the header frame's payload exactly so large."""
    empty = encode(envelope(1, headers={"pad": ""}, body=b""), 1, 2**20)
    assert isinstance(empty, bytes)
    method_size, _, _ = pamqp.frame.unmarshal(empty)
    return {"pad": "x" * (size - (len(empty) - method_size - 8))}


def test_headers_may_fill_one_frame_and_no_more() -> None:
    fits = envelope(1, headers=header_of(FRAME_MAX - 8))
    too_large = envelope(1, headers=header_of(FRAME_MAX - 7))
    assert isinstance(encode(fits, 1, FRAME_MAX), bytes)
    detail = "headers and properties of 4089 bytes > 4088 (the broker's frame_max)"
    assert encode(too_large, 1, FRAME_MAX) == Refused(Refusal.INVALID, detail)


def test_an_envelope_that_returns_could_not_be_told_by_is_refused() -> None:
    refused = encode(envelope(1)._replace(headers={}), 1, FRAME_MAX)
    assert isinstance(refused, Refused)
    assert "x-outbox-id must be the row's id" in refused.detail


def test_a_property_nobody_knows_is_refused() -> None:
    assert encode(envelope(1, properties={"user_id": "x"}), 1, FRAME_MAX) == Refused(
        Refusal.INVALID, "a property is unknown"
    )


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"created_at": -0.5}, "created_at is before 1970"),
        ({"headers": {"big": 2**63}}, "an integer over 64 bits"),
        ({"headers": {"half": 0.5}}, "KeyError"),
        ({"headers": {"text": "lone \ud800"}}, "UnicodeEncodeError"),
        ({"headers": {"n" * 256: 1}}, "ValueError"),
        ({"routing_key": "k" * 256}, "ValueError"),
        ({"routing_key": "ü" * 128}, "ValueError"),
        ({"exchange": "e" * 256}, "ValueError"),
        ({"properties": {"priority": 256}}, "ValueError"),
    ],
)
def test_what_cannot_be_encoded_blames_its_row_without_telling_values(fields: dict[str, Any], detail: str) -> None:
    refused = encode(envelope(1, **fields), 1, FRAME_MAX)
    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.INVALID
    assert detail in refused.detail
    assert "lone" not in refused.detail


def test_headers_nested_without_end_blame_their_row() -> None:
    deep: list[HeaderValue] = []
    for _ in range(5000):
        deep = [deep]
    assert encode(envelope(1, headers={"deep": deep}), 1, FRAME_MAX) == Refused(
        Refusal.INVALID, "cannot be encoded as AMQP: RecursionError"
    )


def test_a_timestamp_has_whole_seconds() -> None:
    whole, later = (encode(envelope(1, created_at=at), 1, FRAME_MAX) for at in (1767323045.0, 1767323045.999))
    assert whole == later
