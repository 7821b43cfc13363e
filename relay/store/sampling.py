"""The backlog sample: what it costs stays bounded when the head of the pending index is dead.

An old snapshot keeps the index entries of rows sent since, and a walk from the start passes by all of them. Such a
look at the whole index, where it takes long, comes so rarely that it has WHOLE_SHARE of the database's time at most; in
between a sample begins at the first row of the last one, or behind all rows when none waited; it misses rows that came
below since, and says so.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from relay.model import Backlog
from relay.store.begin import SAMPLE
from relay.store.config import SAMPLE_TIMEOUT_S
from relay.store.pool import Connections

GRACE_S = 3.0
"""For the round trips, on top of what the server is allowed for a statement."""
WHOLE_SHARE = 0.01
QUICK_S = 0.1
"""A look at the whole index that took no longer may come with every sample."""


class Whole:
    """Whether the whole of an index may be looked at: always where it is quick, else within WHOLE_SHARE of the time."""

    def __init__(self) -> None:
        self._at = float("-inf")
        """Local monotonic time from which it may be looked at again."""

    @property
    def allowed(self) -> bool:
        """It may be looked at now."""
        return time.monotonic() >= self._at

    @contextmanager
    def look(self) -> Iterator[None]:
        """Look at it in the block, also in vain."""
        began = time.monotonic()
        try:
            yield
        finally:
            took_s = time.monotonic() - began
            if took_s > QUICK_S:
                self._at = began + took_s / WHOLE_SHARE


class Sampler:
    """Samples the backlog and remembers where the last sample found that rows begin to wait."""

    def __init__(self, connections: Connections, query: bytes, cap: int) -> None:
        self._connections = connections
        self._query = query
        self._cap = cap
        self._low = 0
        """Before it no row waited at the last sample."""
        self._unseen = 0
        """Where the rows begin that no claim has looked at yet."""
        self._whole = Whole()

    def seen_below(self, low: int) -> None:
        """Know that claims begin there; one from 0 tells nothing."""
        self._unseen = low or self._unseen

    async def sample(self) -> Backlog:
        """Count up to the cap of each kind of row; ends within seconds however large the table is."""
        low = 0 if self._whole.allowed else self._low
        answer = await self._ask(low)
        pending, retrying, failed, oldest_age_s, sampled_at, inserted, deleted, blocked_keys, self._low = answer
        pending = max(pending, retrying)  # a retrying row below the begin waits, too
        return Backlog(
            pending=min(pending, self._cap),
            retrying=min(retrying, self._cap),
            failed=min(failed, self._cap),
            capped=low > 0 or max(pending, failed) > self._cap,
            oldest_age_s=oldest_age_s,
            sampled_at=sampled_at,
            inserted=inserted,
            deleted=deleted,
            blocked_keys=min(blocked_keys, self._cap),
        )

    async def _ask(self, low: int) -> Sequence[Any]:
        params = {"cap": self._cap, "low": low, "unseen": self._unseen}
        async with self._connections.transaction("backlog", SAMPLE, SAMPLE_TIMEOUT_S + GRACE_S) as conn:
            with self._whole.look() if low == 0 else nullcontext():
                answers: list[Sequence[Any]] = await (await conn.execute(self._query, params, binary=True)).fetchall()
        return answers[0]
