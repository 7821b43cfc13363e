"""The order service: one transaction writes an order and its outbox row, and one order in ten is rolled back.

It knows nothing of the relay and nothing of RabbitMQ. The two INSERTs in `place` are all a service needs.
"""

import argparse
import json
import os
import random
import signal
import time
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from uuid import uuid4

import psycopg

from demo.journal import Fact, Journal, digest

URL_VARIABLE = "SHOP_DATABASE_URL"
TABLES = """
CREATE SCHEMA IF NOT EXISTS shop;
CREATE TABLE IF NOT EXISTS shop.orders (
  id uuid PRIMARY KEY,
  customer text NOT NULL,
  item text NOT NULL,
  cents integer NOT NULL,
  placed_at timestamptz NOT NULL DEFAULT now()
)
"""
ORDER = """
INSERT INTO shop.orders (id, customer, item, cents) VALUES (%(id)s, %(customer)s, %(item)s, %(cents)s)
RETURNING pg_current_xact_id()::text
"""
OUTBOX = """
INSERT INTO outbox.message (message_id, routing_key, payload) VALUES (%(id)s, 'order.placed', %(payload)s)
"""

CUSTOMERS = ("Ada", "Béla", "Chloë", "Dörte", "Łukasz", "Nuño", "Søren", "Zoë", "Åsa", "小林")
ITEMS = ("teapot", "bicycle bell", "fountain pen", "chess clock", "hand plane", "paper lantern")
DECLINED_EVERY = 10
BEHIND_S = 0.5
"""After a pause of the machine the shop goes on at its pace and does not catch up."""
RECONNECT_S = 0.3


@dataclass(frozen=True, slots=True)
class Order:
    """A purchase; its id is the message's id too."""

    customer: str
    item: str
    cents: int
    declined: bool
    """The payment fails after everything was written: the transaction is rolled back."""
    id: str = field(default_factory=lambda: str(uuid4()))


def place(connection: psycopg.Connection, order: Order, journal: Journal) -> None:
    """Write the order and its message in one transaction.

    When the connection breaks, nobody here knows how the transaction ended: the journal then says `tried` and no more.
    """
    payload = json.dumps({name: value for name, value in asdict(order).items() if name != "declined"})
    end = Fact.ROLLED_BACK if order.declined else Fact.COMMITTED
    with connection.transaction():
        row = connection.execute(ORDER, asdict(order)).fetchone()
        connection.execute(OUTBOX, {"id": order.id, "payload": payload})
        assert row is not None
        journal.note(Fact.TRIED, order.id, row[0], digest(payload.encode()))
        if order.declined:
            raise psycopg.Rollback
    journal.note(end, order.id)


def serve(url: str, journal: Journal, *, rate: float, chance: random.Random) -> None:
    """Place orders at that rate (a second) until SIGTERM; a broken connection is opened again."""
    closing: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: closing.append(number))
    numbers = count(1)
    next_at = time.monotonic()
    while not closing:
        try:
            with psycopg.connect(url, autocommit=True, application_name="demo shop", connect_timeout=5) as connection:
                while not closing:
                    number = next(numbers)
                    place(connection, _order(chance, declined=number % DECLINED_EVERY == 0), journal)
                    next_at = max(next_at + 1 / rate, time.monotonic() - BEHIND_S)
                    time.sleep(max(0.0, next_at - time.monotonic()))
        except (psycopg.OperationalError, psycopg.Rollback):  # a rollback that cannot be sent lets its reason out
            time.sleep(RECONNECT_S)


def _order(chance: random.Random, *, declined: bool) -> Order:
    return Order(chance.choice(CUSTOMERS), chance.choice(ITEMS), chance.randrange(100, 20_000), declined)


def main() -> None:
    """Read the arguments, make the shop's own table, and open."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--journal", required=True, type=Path)
    parser.add_argument("--rate", required=True, type=float)
    given = parser.parse_args()
    url = os.environ[URL_VARIABLE]
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        connection.execute(TABLES)
    journal = Journal(given.journal)
    journal.note(Fact.READY)
    serve(url, journal, rate=given.rate, chance=random.Random())


if __name__ == "__main__":
    main()
