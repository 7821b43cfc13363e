"""Postgres: the outbox table, and all that is said to it while the relay runs."""

from relay.store.config import OPS, StoreConfig
from relay.store.doorbell import PostgresDoorbell, pooled
from relay.store.facts import Facts
from relay.store.postgres import PostgresStore
from relay.store.problems import Problem

__all__ = ["OPS", "Facts", "PostgresDoorbell", "PostgresStore", "Problem", "StoreConfig", "pooled"]
