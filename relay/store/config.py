"""What the store needs to know, and the one clock it tells."""

from collections.abc import Callable
from dataclasses import dataclass

STATEMENT_TIMEOUT_S = 5.0
LOCK_TIMEOUT_S = 2.0
TRANSACTION_TIMEOUT_S = 10.0
"""A whole transaction, commit and every round trip included; then its connection is cut."""
SAMPLE_TIMEOUT_S = 2.0
UPKEEP_TIMEOUT_S = 60.0
"""One batch of a cleanup or requeue."""

OPS = ("claim", "renew", "settle", "backlog", "health", "ready", "ping", "cleanup", "requeue")
"""What `on_db` may be told about."""

OnDb = Callable[[str, float], None]
"""Called with an operation of OPS and its seconds, also when it failed."""


def ignore(_op: str, _seconds: float) -> None:
    """Take a timing and forget it."""


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where the table is, and the limits of a claim."""

    conninfo: Callable[[], str]
    """Asked anew for each connection: the secret may have been changed. May raise OSError or ValueError, in words that
    may be shown: then there is no connection now.
    """
    schema: str = "outbox"
    table: str = "message"
    batch_bytes: int = 8 * 1024 * 1024
    """Bytes of payload and headers one claim may hand over; a single row may be larger."""
    message_bytes_max: int = 16 * 1024 * 1024
    """A larger payload is not fetched."""
    lease_s: float = 60.0
    pool_size: int = 3
    application_name: str = "outbox-relay"
    scan_ids: int = 20_000
    """Ids one claim looks at. Postgres passes by as many rows that are not due in some 10 ms, far below any timeout."""
    backlog_cap: int = 10_000
    """Where counting stops."""
    ordered: bool = False
    """Rows of one key are claimed in order of id, whatever other relays do."""
    failed_blocks_key: bool = False
    """With order: a failed row stops the rows of its key that come after it."""
