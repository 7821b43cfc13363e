"""The rows that producers write: drawn from a seed, most of them good, a few with a known bad end."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

EXCHANGE = "chaos"
"""RELAY_EXCHANGE; rows that name no exchange go there."""
NEVER_DECLARED = "chaos.never"
MESSAGE_BYTES_MAX = 150_000
"""RELAY_MAX_MESSAGE_BYTES."""
POISON_SHARE = 0.01
BULK_SHARE = 0.1
NESTED_SHARE = 0.2
PROPERTIES_SHARE = 0.3
PRIORITY_OVERTAKES = 5
"""From here on a quorum queue of RabbitMQ 4 lets messages overtake, and the checker counts on the queue's order."""
KEY_SHARE = 0.7
KEYS = 12
"""Of one producer."""
SIZES = ((40, 70), (400, 20), (4_000, 9), (60_000, 1))
"""Bytes of a body, about, and how often in a hundred."""
POISONS = ("no_exchange", "unroutable", "invalid", "too_large")


@dataclass(frozen=True, slots=True)
class Draft:
    """A row before it is written."""

    routing_key: str
    payload: str
    exchange: str | None = None
    key: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)
    refusal: str = ""
    """What it deserves; empty: nothing, it must arrive."""


def draw(chance: random.Random, producer: int, *, poison: float) -> Draft:
    """Draw a row; `poison` is the share of bad ones."""
    refusal = chance.choice(POISONS) if poison and chance.random() < poison else ""
    routing_key = "bulk.item" if chance.random() < BULK_SHARE else f"order.{chance.choice(('placed', 'paid', 'sent'))}"
    sizes, weights = zip(*SIZES, strict=True)
    size = MESSAGE_BYTES_MAX + 1 if refusal == "too_large" else chance.choices(sizes, weights)[0]
    headers: dict[str, Any] = {"tenant": chance.choice(("blue", "grün")), "retries": chance.randrange(1 << 40)}
    if chance.random() < NESTED_SHARE:
        headers["nested"] = {"list": [1, True, None, "x"], "deep": {"er": "yes"}}
    if refusal == "invalid":
        headers["ratio"] = 0.5
    properties = (
        {"type": "order", "priority": chance.randrange(1, PRIORITY_OVERTAKES)}
        if chance.random() < PROPERTIES_SHARE
        else {}
    )
    return Draft(
        routing_key="nowhere" if refusal == "unroutable" else routing_key,
        payload=json.dumps({"n": chance.getrandbits(60), "pad": "ü" * (size // 2)}),
        exchange=NEVER_DECLARED if refusal == "no_exchange" else chance.choice((None, EXCHANGE)),
        key=f"{producer}-{chance.randrange(KEYS)}" if chance.random() < KEY_SHARE else None,
        headers=headers,
        properties=properties,
        refusal=refusal,
    )
