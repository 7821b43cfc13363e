"""Both journals, read together: the counters of the view, and the facts of the verdict."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psycopg

from demo.journal import Fact, Reader
from demo.verdict import Arrival, Fate, Order

FATES = {"committed": Fate.COMMITTED, "aborted": Fate.ROLLED_BACK}
"""What Postgres says of a transaction that is over."""
SETTLE_S = 5.0


class History:
    """What the shop did and what the consumer got."""

    def __init__(self, shop: Path, consumer: Path) -> None:
        self._shop = Reader(shop)
        self._consumer = Reader(consumer)
        self._transactions: dict[str, str] = {}
        self._came: set[str] = set()
        self.orders: dict[str, Order] = {}
        self.arrivals: list[Arrival] = []
        self.committed = 0
        self.rolled_back = 0
        self.shop_ready = False
        self.consumer_ready = 0
        """How often the consumer had its queue: one more after every broken connection."""

    @property
    def delivered(self) -> int:
        """Different messages that arrived."""
        return len(self._came)

    @property
    def waiting(self) -> int:
        """Committed messages that have not arrived; an unknown commit that arrives makes it one too small."""
        return max(0, self.committed - self.delivered)

    def read(self) -> None:
        """Take in what was written since the last call."""
        # The consumer first: what it has received by now, the shop had committed before; `waiting` stays honest.
        for fact, words in self._consumer.new():
            if fact is Fact.ARRIVED:
                message_id, content, flag = words
                self.arrivals.append(Arrival(message_id, content, redelivered=flag == "redelivered"))
                self._came.add(message_id)
            else:
                self.consumer_ready += 1
        for fact, words in self._shop.new():
            self._tell(fact, words)

    def _tell(self, fact: Fact, words: Sequence[str]) -> None:
        if fact is Fact.READY:
            self.shop_ready = True
        elif fact is Fact.TRIED:
            message_id, transaction, content = words
            self.orders[message_id] = Order(content, Fate.UNKNOWN)
            self._transactions[message_id] = transaction
        else:
            committed = fact is Fact.COMMITTED
            self.committed += committed
            self.rolled_back += not committed
            self._decide(words[0], Fate.COMMITTED if committed else Fate.ROLLED_BACK)

    def _decide(self, message_id: str, fate: Fate) -> None:
        self.orders[message_id] = replace(self.orders[message_id], fate=fate)

    def resolve(self, url: str, *, settle_s: float = SETTLE_S) -> None:
        """Ask Postgres how the transactions ended whose COMMIT was never answered; blocks.

        It is asked about the transaction itself, never about the outbox table.
        """
        open_ones = [message_id for message_id, order in self.orders.items() if order.fate is Fate.UNKNOWN]
        if not open_ones:
            return
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            deadline = time.monotonic() + settle_s
            for message_id in open_ones:
                while (said := _status(connection, self._transactions[message_id])) == "in progress":
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.05)
                self._decide(message_id, FATES.get(said or "", Fate.UNKNOWN))


def _status(connection: psycopg.Connection, transaction: str) -> str | None:
    row = connection.execute("SELECT pg_xact_status(%s::xid8)", (transaction,)).fetchone()
    return None if row is None else row[0]
