"""What settings must be to each other; each rule names the settings it ties: a wrong one is not judged twice."""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from relay.settings.model import Settings

STATEMENT_S = 5.0
"""Longest time a statement of the relay may take in the database."""
CANCEL_S = 10.0
"""psycopg takes up to this long to come back from a statement that a dead network swallowed."""
MARGIN_S = 5.0
"""For the pauses of a busy process and the granularity of the timers."""
LEASE_ABOVE_CONFIRM_S = STATEMENT_S + CANCEL_S + MARGIN_S


@dataclass(frozen=True, slots=True)
class _Rule:
    fields: tuple[str, str]
    holds: Callable[[Settings], bool]
    text: str


_RULES = (
    _Rule(
        ("lease_seconds", "confirm_timeout_seconds"),
        lambda s: s.lease_seconds >= s.confirm_timeout_seconds + LEASE_ABOVE_CONFIRM_S,
        "RELAY_LEASE_SECONDS: too short; it must be at least RELAY_CONFIRM_TIMEOUT_SECONDS + "
        f"{LEASE_ABOVE_CONFIRM_S:g} ({STATEMENT_S:g} for the statement that marks the rows, {CANCEL_S:g} until a dead "
        f"database connection is given up, {MARGIN_S:g} of margin), or another relay takes rows still in flight",
    ),
    _Rule(
        ("shutdown_grace_seconds", "lease_seconds"),
        lambda s: s.shutdown_grace_seconds < s.lease_seconds,
        "RELAY_SHUTDOWN_GRACE_SECONDS: must be below RELAY_LEASE_SECONDS, or another relay takes rows while this one "
        "finishes them",
    ),
    _Rule(
        ("poll_min_seconds", "poll_max_seconds"),
        lambda s: s.poll_min_seconds <= s.poll_max_seconds,
        "RELAY_POLL_MIN_SECONDS: must not be above RELAY_POLL_MAX_SECONDS",
    ),
    _Rule(
        ("retry_base_seconds", "retry_max_seconds"),
        lambda s: s.retry_base_seconds <= s.retry_max_seconds,
        "RELAY_RETRY_BASE_SECONDS: must not be above RELAY_RETRY_MAX_SECONDS",
    ),
    _Rule(
        ("failed_blocks_key", "ordering"),
        lambda s: s.ordering == "key" or not s.failed_blocks_key,
        "RELAY_FAILED_BLOCKS_KEY: means something only with RELAY_ORDERING=key; set both, or neither",
    ),
)


def broken(settings: Settings, *, unknown: AbstractSet[str] = frozenset()) -> Iterator[str]:
    """Give a line for every rule that does not hold, leaving out those that touch a field in `unknown`."""
    for rule in _RULES:
        if unknown.isdisjoint(rule.fields) and not rule.holds(settings):
            yield rule.text
