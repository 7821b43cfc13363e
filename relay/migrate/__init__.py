"""`relay migrate`: the outbox table's migrations, applied or printed. Never called by the daemon."""

from relay.migrate.files import MigrationError, UnknownOptIn, sql
from relay.migrate.runner import State, apply, down, status, up

__all__ = ["MigrationError", "State", "UnknownOptIn", "apply", "down", "sql", "status", "up"]
