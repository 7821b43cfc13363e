"""The keys of rows whose order is promised, and how producers write each of them in turns."""

import random
from dataclasses import replace

from chaos.drafts import Draft

HOT = "hot"
"""The key of every fifth row, whoever writes it."""
SHARED = 40
"""So many keys that all producers write."""
OWN = 3
"""So many keys of each producer."""
UNKEYED_SHARE, HOT_SHARE, OWN_SHARE = 0.2, 0.2, 0.3
POISON_SHARE = 0.002
"""A row that is tried ten times holds up its key meanwhile; more of them, and none would ever be empty."""
HOPELESS = ("", "invalid", "too_large")
"""What a row of the hot key may deserve: it is sent or given up at once, for others always wait behind it."""
DAWDLE_SHARE = 0.01
DAWDLE_S = (1.2, 3.0)
"""Such a transaction keeps its id to itself while hundreds of later ones are committed; the next of its key follows it
at once."""
TAKE_TURNS = "SELECT FROM shop.things WHERE key = ANY(%s) ORDER BY key FOR UPDATE"
"""Held to the end of the transaction: so the ids of a key rise in the order of its commits, whatever became of them."""


def every(producers: int) -> list[str]:
    """Return all keys there are."""
    own = (_own(producer, number) for producer in range(producers) for number in range(OWN))
    return [HOT, *(f"thing {number}" for number in range(SHARED)), *own]


def keyed(draft: Draft, chance: random.Random, producer: int) -> Draft:
    """Give a row a key of one of the kinds, or none."""
    share = chance.random()
    if share < UNKEYED_SHARE:
        return replace(draft, key=None)
    if share < UNKEYED_SHARE + HOT_SHARE and draft.refusal in HOPELESS:
        return replace(draft, key=HOT)
    if share < UNKEYED_SHARE + HOT_SHARE + OWN_SHARE:
        return replace(draft, key=own(chance, producer))
    return replace(draft, key=f"thing {chance.randrange(SHARED)}")


def own(chance: random.Random, producer: int) -> str:
    """Draw a key that no other producer waits for."""
    return _own(producer, chance.randrange(OWN))


def _own(producer: int, number: int) -> str:
    return f"{producer}-{number}"
