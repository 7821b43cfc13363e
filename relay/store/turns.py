"""Claims that keep order per key: of each key rows are taken from the first that is pending on, without a gap.

Relays may choose the same rows at once. Each row goes to one of them, and who gets one but not the one before it gives
it back in the same transaction, so that nobody has a row in hand while an earlier one of its key is elsewhere.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from relay.store.queries import Queries
from relay.store.rounds import Choice, Place, Round, asks, choose, look_size, orphans, told


class Turns:
    """Where this relay's round of the keys is. One claim at a time: the engine's lanes claim in turns."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._round = Round()
        self._choice = Choice((), (), more=False)

    @property
    def more(self) -> bool:
        """The next look may find rows at once."""
        return self._choice.more

    async def choose(self, cursor: psycopg.AsyncCursor[Any], params: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the rows whose turn it is, in order of id; a claim from 0 looks at every pending row anew."""
        now = time.monotonic()
        if asks(self._round, now):
            writers = await (await cursor.execute(self._queries.writers)).fetchall()
            self._round = told(self._round, [name for (name,) in writers], now)
        low = min(params["low"], self._round.low)
        known = {
            "low": low,
            "after": self._round.keys.after,
            "after_unkeyed": self._round.unkeyed.after,
            "each": self._round.each,
            "look": look_size(params["rows"]),
        }
        places = [Place._make(record) for record in await (await cursor.execute(self._queries.turns, known)).fetchall()]
        self._round, self._choice = choose(self._round, places, params["rows"])
        return self._choice.ids

    def forget(self) -> None:
        """Begin at the first row again: a server that crashed may give out ids once more that were looked at."""
        self._round = Round()

    def orphans(self, taken: Sequence[int]) -> frozenset[int]:
        """Return which of the rows just taken must be given back at once."""
        return orphans(self._choice, frozenset(taken))
