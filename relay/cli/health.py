"""How the table's health is shown in a terminal."""

from collections.abc import Iterator

from relay.model import FailedRow, Health, Holder, Snapshot
from relay.page.words import duration

SHOWN = 3
"""Failed rows that are shown; the page and --json have more."""
TEXT_CHARS_MAX = 120
DEGRADED = "grant pg_monitor to see other logins' sessions: the age of their transactions is hidden from this one"
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def lines(health: Health) -> Iterator[tuple[str, str]]:
    """Give a name and a text for each line."""
    yield "table", f"{size(health.table_bytes)} and {size(health.index_bytes)} of indexes; {_sent(health)}"
    cleaned = "none known" if health.last_autovacuum_at is None else _ago(health, health.last_autovacuum_at)
    yield "vacuum", f"{health.live_tuples:,} live and {health.dead_tuples:,} dead tuples; last autovacuum: {cleaned}"
    for snapshot in health.snapshots:
        yield "held by", held_by(snapshot)
    if not health.complete:
        yield "degraded", DEGRADED
    yield "replicas", ", ".join(f"{each.name} {each.version}" for each in health.replicas) or "none connected"
    for row in health.failures[:SHOWN]:
        yield "failure", _failure(health, row)


def _sent(health: Health) -> str:
    if health.oldest_sent_at is None:
        return "no sent row"
    return f"the oldest sent row is {duration(max(0.0, health.sampled_at - health.oldest_sent_at))} old"


def _ago(health: Health, when: float) -> str:
    return f"{duration(max(0.0, health.sampled_at - when))} ago"


def _failure(health: Health, row: FailedRow) -> str:
    return f"row {row.row_id}, {_ago(health, row.failed_at)}, after {row.failures}: {row.error[:TEXT_CHARS_MAX]}"


def held_by(snapshot: Snapshot) -> str:
    """Say who keeps vacuum from removing what died since."""
    age = "age unknown" if snapshot.age_s is None else f"for {duration(snapshot.age_s)}"
    return f"{_who(snapshot)}, {age}, {snapshot.transactions:,} transactions behind"


def _who(snapshot: Snapshot) -> str:
    match snapshot.holder:
        case Holder.TRANSACTION | Holder.STANDBY:
            application = "" if snapshot.application is None else f" ({snapshot.application})"
            return f"{snapshot.holder} of pid {snapshot.pid}{application}"
        case Holder.PREPARED_TRANSACTION:
            return f"prepared transaction {snapshot.name}"
        case Holder.REPLICATION_SLOT:
            used = "unused" if snapshot.pid is None else f"used by pid {snapshot.pid}"
            return f"replication slot {snapshot.name} ({used})"


def size(number: float) -> str:
    """Write bytes as a person would."""
    for unit in _UNITS[:-1]:
        if number < 1024:  # noqa: PLR2004 -- the next unit
            return f"{number:.0f} {unit}" if unit == _UNITS[0] else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} {_UNITS[-1]}"
