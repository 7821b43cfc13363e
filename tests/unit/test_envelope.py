"""Row → envelope: what is sent, and what blames its row before it can harm another."""

import json
from typing import Any

import pytest

from relay.envelope import SealPolicy, seal
from relay.model import Envelope, Refusal, Refused
from tests.doubles import a_row

POLICY = SealPolicy(exchange="events", message_bytes_max=1000)


def sealed(**columns: Any) -> Envelope:
    envelope = seal(a_row(**columns), POLICY)
    assert isinstance(envelope, Envelope), envelope
    return envelope


def refused(**columns: Any) -> Refused:
    refusal = seal(a_row(**columns), POLICY)
    assert isinstance(refusal, Refused), refusal
    return refusal


def test_a_row_becomes_a_message() -> None:
    row = a_row(payload=b'{"a": 1.0}', headers='{"tenant": "x"}', properties='{"type": "t"}')
    assert seal(row, POLICY) == Envelope(
        row_id=1,
        message_id="00000000-0000-0000-0000-000000000001",
        exchange="events",
        routing_key="order.created",
        body=b'{"a": 1.0}',
        content_type="application/json",
        created_at=row.created_at,
        headers={"tenant": "x", "x-outbox-id": 1},
        properties={"type": "t"},
    )


@pytest.mark.parametrize(("column", "exchange"), [(None, "events"), ("other", "other"), ("", "")])
def test_a_row_names_its_exchange_or_gets_the_configured_one(column: str | None, exchange: str) -> None:
    assert sealed(exchange=column).exchange == exchange


@pytest.mark.parametrize(
    ("claims", "doubtful", "attempt"), [(1, False, None), (2, False, 2), (7, False, 7), (1, True, 2), (5, True, 5)]
)
def test_a_message_that_may_be_a_repetition_says_so(claims: int, doubtful: bool, attempt: int | None) -> None:  # noqa: FBT001
    assert sealed(claims=claims, doubtful=doubtful).headers.get("x-outbox-attempt") == attempt


@pytest.mark.parametrize("columns", [{"payload": None, "payload_bytes": 1001}, {"payload_bytes": 1001}])
def test_a_payload_over_the_limit_is_too_large(columns: dict[str, Any]) -> None:
    assert refused(**columns) == Refused(Refusal.TOO_LARGE, "payload of 1001 bytes > RELAY_MAX_MESSAGE_BYTES=1000")


def test_a_row_that_the_database_could_not_hand_over_is_refused_in_its_words() -> None:
    why = Refused(Refusal.UNREADABLE, "the database cannot read it")
    assert refused(payload=why, payload_bytes=0, routing_key="") == why


def test_a_payload_of_exactly_the_limit_is_sent() -> None:
    assert len(sealed(payload=b"x" * 1000, payload_bytes=1000).body) == 1000


@pytest.mark.parametrize("column", ["exchange", "routing_key", "content_type"])
def test_names_are_measured_in_bytes(column: str) -> None:
    assert getattr(sealed(**{column: "ü" * 127}), column) == "ü" * 127
    assert refused(**{column: "ü" * 128}) == Refused(Refusal.INVALID, f"{column} of 256 bytes > 255")


@pytest.mark.parametrize("column", ["exchange", "routing_key", "content_type"])
def test_half_a_surrogate_pair_is_no_name(column: str) -> None:
    assert refused(**{column: "a\ud800"}).detail == f"{column} holds half of a surrogate pair, which is no text"


VALUES = [None, True, False, 0, -(2**63), 2**63 - 1, "", "text", "🦊", [], [1, ["a", None]], {}, {"a": {"b": [True]}}]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_header_that_amqp_can_carry_is_carried(value: object) -> None:
    carried = sealed(headers=json.dumps({"h": value})).headers["h"]
    assert (carried, type(carried)) == (value, type(value))


NESTED = "[" * 17 + "]" * 17
NOT_CARRIED = [
    ('{"h": 0.1}', "header h holds a fractional number, which AMQP would round; send it as a string"),
    ('{"h": 1.0}', "header h holds a fractional number, which AMQP would round; send it as a string"),
    ('{"h": NaN}', "header h holds a fractional number, which AMQP would round; send it as a string"),
    ('{"h": [1e400]}', "header h holds a fractional number, which AMQP would round; send it as a string"),
    ('{"h": 9223372036854775808}', "header h holds an integer over 64 bits; send it as a string"),
    ('{"h": {"a": -9223372036854775809}}', "header h holds an integer over 64 bits; send it as a string"),
    ('{"": 1}', "header name of 0 bytes; 1 to 128 are allowed"),
    (json.dumps({"é" * 65: 1}), "header name of 130 bytes; 1 to 128 are allowed"),
    (json.dumps({"h": {"x" * 129: 1}}), "header name of 129 bytes; 1 to 128 are allowed"),
    ('{"x-outbox-id": 1}', "header x-outbox-id is set by the relay; leave it out"),
    ('{"x-outbox-attempt": 1}', "header x-outbox-attempt is set by the relay; leave it out"),
    ('{"CC": "a"}', "header CC must be a list of strings (routing keys), or be left out"),
    ('{"BCC": [1]}', "header BCC must be a list of strings (routing keys), or be left out"),
    ('{"CC": null}', "header CC must be a list of strings (routing keys), or be left out"),
    (json.dumps({"CC": ["x" * 256]}), "header CC of 256 bytes > 255"),
    (f'{{"h": [{NESTED}]}}', "header h is nested deeper than 16"),
    ('{"\\ud800": 1}', "header name holds half of a surrogate pair, which is no text"),
    ('{"h": ["\\udfff"]}', "header h holds half of a surrogate pair, which is no text"),
    ("[]", "headers must be a JSON object"),
    ("null", "headers must be a JSON object"),
    ("{", "headers is not valid JSON, or nested too deeply"),
    ("[" * 100_000, "headers is not valid JSON, or nested too deeply"),
    (f'{{"h": {"9" * 5000}}}', "headers is not valid JSON, or nested too deeply"),
]


@pytest.mark.parametrize(("headers", "detail"), NOT_CARRIED, ids=[detail[:60] for _, detail in NOT_CARRIED])
def test_a_header_that_would_be_changed_or_refused_blames_its_row(headers: str, detail: str) -> None:
    assert refused(headers=headers) == Refused(Refusal.INVALID, detail)


def test_a_header_name_may_have_128_bytes_and_a_value_16_levels_below_it() -> None:
    assert sealed(headers=json.dumps({"x" * 128: 1})).headers["x" * 128] == 1
    assert sealed(headers=f'{{"h": {NESTED}}}').headers["h"]


@pytest.mark.parametrize("name", ["CC", "BCC"])
def test_sender_selected_routing_keys_are_a_list_of_strings(name: str) -> None:
    assert sealed(headers=json.dumps({name: ["a", "b"]})).headers[name] == ["a", "b"]


@pytest.mark.parametrize("name", ["type", "correlation_id", "reply_to", "content_encoding", "app_id"])
def test_text_properties_are_short_strings(name: str) -> None:
    assert sealed(properties=json.dumps({name: "v"})).properties == {name: "v"}
    assert refused(properties=json.dumps({name: 1})).detail == f"property {name} must be a string"
    assert refused(properties=json.dumps({name: "x" * 256})).detail == f"property {name} of 256 bytes > 255"


@pytest.mark.parametrize("priority", [0, 9, 255])
def test_a_priority_is_a_byte(priority: int) -> None:
    assert sealed(properties=json.dumps({"priority": priority})).properties == {"priority": priority}


@pytest.mark.parametrize("priority", [-1, 256, True, "1", 1.0, None])
def test_another_priority_blames_its_row(priority: object) -> None:
    assert refused(properties=json.dumps({"priority": priority})).detail == (
        "property priority must be an integer from 0 to 255"
    )


@pytest.mark.parametrize(("value", "text"), [(0, "0"), ("0", "0"), (60000, "60000"), ("4294967295", "4294967295")])
def test_an_expiration_is_whole_milliseconds(value: object, text: str) -> None:
    assert sealed(properties=json.dumps({"expiration": value})).properties == {"expiration": text}


BAD_EXPIRATIONS = [-5, "abc", "", "-5", "1.5", 1.5, True, None, 2**32, "4294967296", "٣", "0" * 11, "0" * 300, 10**4000]


@pytest.mark.parametrize("value", BAD_EXPIRATIONS, ids=[f"{value!r:.20}" for value in BAD_EXPIRATIONS])
def test_another_expiration_blames_its_row_instead_of_closing_the_channel(value: object) -> None:
    assert refused(properties=json.dumps({"expiration": value})).detail == (
        "property expiration must be whole milliseconds, 0 to 4294967295"
    )


@pytest.mark.parametrize("name", ["user_id", "delivery_mode", "message_id", "typo"])
def test_an_unknown_property_blames_its_row_and_names_those_that_are_known(name: str) -> None:
    assert refused(properties=json.dumps({name: "v"})).detail == (
        f"property {name} is unknown; known are app_id, content_encoding, correlation_id, expiration, priority, "
        "reply_to, type"
    )


def test_a_refusal_quotes_no_value() -> None:
    for columns in ({"headers": '{"h": 0.987654}'}, {"properties": '{"priority": "sec" }'}, {"headers": '["sec"]'}):
        assert "sec" not in refused(**columns).detail
        assert "987" not in refused(**columns).detail
