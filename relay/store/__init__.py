"""Postgres: the outbox table, and all that is said to it while the relay runs."""

from relay.store.config import OPS, StoreConfig
from relay.store.postgres import PostgresStore

__all__ = ["OPS", "PostgresStore", "StoreConfig"]
