"""Row → envelope, or why the row itself is to blame. Pure; `seal` never raises.

Everything that AMQP 0-9-1 or RabbitMQ would refuse by closing the channel is refused here instead, where it harms
one row: names over 255 bytes, header names over 128 bytes (the encoder would truncate them), floats (the encoder
would make them 32 bits wide), integers over 64 bits, unknown properties.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from relay.model import Envelope, HeaderValue, Refusal, Refused, Row

SHORT_STRING_BYTES = 255
HEADER_NAME_BYTES = 128
HEADER_DEPTH = 16
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
PRIORITY_MAX = 255
EXPIRATION_MAX_MS = 2**32 - 1
EXPIRATION_DIGITS = len(str(EXPIRATION_MAX_MS))
TEXT_PROPERTIES = frozenset({"type", "correlation_id", "reply_to", "content_encoding", "app_id"})
ID_HEADER, ATTEMPT_HEADER = "x-outbox-id", "x-outbox-attempt"
RESERVED_HEADERS = frozenset({ID_HEADER, ATTEMPT_HEADER})
SENDER_SELECTED = frozenset({"CC", "BCC"})
"""RabbitMQ routes to these as well. It closes the channel when the value is no list, and passes over an item that is no
string.
"""


@dataclass(frozen=True, slots=True)
class SealPolicy:
    """Where a row goes that names no exchange, and how large a message may be."""

    exchange: str
    message_bytes_max: int


class _Invalid(Exception):
    """Carries the sentence that blames the row."""


def seal(row: Row, policy: SealPolicy) -> Envelope | Refused:
    """Make the message of a row, or say what is wrong with the row."""
    if isinstance(row.payload, Refused):
        return row.payload
    if row.payload is None or row.payload_bytes > policy.message_bytes_max:
        detail = f"payload of {row.payload_bytes} bytes > RELAY_MAX_MESSAGE_BYTES={policy.message_bytes_max}"
        return Refused(Refusal.TOO_LARGE, detail)
    try:
        return Envelope(  # by position: nine names cost as much as half of the checks
            row.id,
            row.message_id,
            _short("exchange", policy.exchange if row.exchange is None else row.exchange),
            _short("routing_key", row.routing_key),
            row.payload,
            _short("content_type", row.content_type),
            row.created_at,
            _headers(row),
            _properties(row.properties),
        )
    except _Invalid as error:
        return Refused(Refusal.INVALID, str(error))


def _headers(row: Row) -> dict[str, HeaderValue]:
    given = _object("headers", row.headers)
    headers = _checked(given) if given else {}
    headers[ID_HEADER] = row.id
    if row.claims > 1 or row.doubtful:
        headers[ATTEMPT_HEADER] = max(row.claims, 2)
    return headers


def _checked(given: Mapping[str, object]) -> dict[str, HeaderValue]:
    """Take over what the producer gave."""
    headers = {_header_name(name): _value(name, value, 0) for name, value in given.items()}
    for name in SENDER_SELECTED & headers.keys():
        targets = headers[name]
        if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
            _blame(f"header {name} must be a list of strings (routing keys), or be left out")
        for target in targets:
            _short(f"header {name}", str(target))
    return headers


def _header_name(name: str) -> str:
    if name in RESERVED_HEADERS:
        _blame(f"header {name} is set by the relay; leave it out")
    size = _utf8_bytes("header name", name)
    if not 0 < size <= HEADER_NAME_BYTES:
        _blame(f"header name of {size} bytes; 1 to {HEADER_NAME_BYTES} are allowed")
    return name


def _value(name: str, value: object, depth: int) -> HeaderValue:
    if depth > HEADER_DEPTH:
        _blame(f"header {name} is nested deeper than {HEADER_DEPTH}")
    match value:
        case str():
            _utf8_bytes(f"header {name}", value)
            return value
        case None | bool():
            return value
        case int() if INT_MIN <= value <= INT_MAX:
            return value
        case int():
            raise _Invalid(f"header {name} holds an integer over 64 bits; send it as a string")
        case list():
            return [_value(name, item, depth + 1) for item in value]
        case dict():
            return {_header_name(key): _value(name, item, depth + 1) for key, item in value.items()}
        case _:  # of what JSON can hold, only a number with a fraction is left
            raise _Invalid(f"header {name} holds a fractional number, which AMQP would round; send it as a string")


def _properties(text: str) -> dict[str, str | int]:
    properties: dict[str, str | int] = {}
    for name, value in _object("properties", text).items():
        if name in TEXT_PROPERTIES:
            properties[name] = _short(f"property {name}", value)
        elif name == "priority":
            properties[name] = _priority(value)
        elif name == "expiration":
            properties[name] = _expiration(value)
        else:
            known = ", ".join(sorted(TEXT_PROPERTIES | {"priority", "expiration"}))
            _blame(f"property {name[:64]} is unknown; known are {known}")
    return properties


def _priority(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= PRIORITY_MAX:
        _blame(f"property priority must be an integer from 0 to {PRIORITY_MAX}")
    return value


def _expiration(value: object) -> str:
    """Accept milliseconds as RabbitMQ does: a whole number of 32 bits, as a number or a string of digits."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    whole = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= EXPIRATION_DIGITS
    if not isinstance(text, str) or not whole or int(text) > EXPIRATION_MAX_MS:
        _blame(f"property expiration must be whole milliseconds, 0 to {EXPIRATION_MAX_MS}")
    return text


def _short(what: str, value: object) -> str:
    if not isinstance(value, str):
        _blame(f"{what} must be a string")
    if value.isascii() and len(value) <= SHORT_STRING_BYTES:  # nearly always
        return value
    size = _utf8_bytes(what, value)
    if size > SHORT_STRING_BYTES:
        _blame(f"{what} of {size} bytes > {SHORT_STRING_BYTES}")
    return value


def _utf8_bytes(what: str, text: str) -> int:
    """Count the bytes on the wire; half of a surrogate pair, which JSON can spell, has none."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        _blame(f"{what} holds half of a surrogate pair, which is no text")


def _object(what: str, text: str) -> Mapping[str, object]:
    if text == "{}":  # what most rows hold
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        _blame(f"{what} is not valid JSON, or nested too deeply")
    if not isinstance(value, dict):
        _blame(f"{what} must be a JSON object")
    return value


def _blame(sentence: str) -> NoReturn:
    raise _Invalid(sentence)
