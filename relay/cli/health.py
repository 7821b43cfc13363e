"""How the table's health is shown in a terminal."""

from collections.abc import Iterator

from relay.model import FailedRow, Health, Holder, Snapshot
from relay.page.words import duration, plain, size

SHOWN = 3
"""Failed rows that are shown; the relay's page and --json have more."""
TEXT_CHARS_MAX = 120
DEGRADED = "grant pg_monitor to see other logins' sessions: for how long they are open is hidden from this one"


def lines(health: Health) -> Iterator[tuple[str, str]]:
    """Give a name and a text for each line."""
    yield "table", f"{size(health.table_bytes)} and {size(health.index_bytes)} of indexes; {_sent(health)}"
    yield "vacuum", f"{health.live_tuples:,} live and {health.dead_tuples:,} dead tuples; {_cleaned(health)}"
    for snapshot in health.snapshots:
        yield "held up", f"by {held_by(snapshot)}"
    if not health.complete:
        yield "degraded", DEGRADED
    yield "replicas", ", ".join(f"{each.name} {each.version}" for each in health.replicas) or "none connected"
    for row in health.failures[:SHOWN]:
        yield "given up", _given_up(health, row)


def held_by(snapshot: Snapshot) -> str:
    """Say who keeps vacuum from removing what died since, and for how long."""
    behind = f"{snapshot.transactions:,} transaction{'' if snapshot.transactions == 1 else 's'} behind"
    age = "" if snapshot.age_s is None else f"open for {duration(snapshot.age_s)}, "
    return f"{_who(snapshot)}, {age}{behind}"


def _who(snapshot: Snapshot) -> str:
    match snapshot.holder:
        case Holder.TRANSACTION | Holder.STANDBY:
            application = "" if snapshot.application is None else f" ({snapshot.application})"
            return f"{snapshot.holder} of pid {snapshot.pid}{application}"
        case Holder.PREPARED_TRANSACTION:
            return f"prepared transaction {plain(snapshot.name or '')}"
        case Holder.REPLICATION_SLOT:
            used = "nobody uses it" if snapshot.pid is None else f"used by pid {snapshot.pid}"
            return f"replication slot {snapshot.name} ({used})"


def _sent(health: Health) -> str:
    if health.oldest_sent_at is None:
        return "no sent row"
    return f"the oldest sent row is {_since(health, health.oldest_sent_at)} old"


def _cleaned(health: Health) -> str:
    if health.last_autovacuum_at is None:
        return "no autovacuum known"
    return f"last autovacuum {_since(health, health.last_autovacuum_at)} ago"


def _given_up(health: Health, row: FailedRow) -> str:
    return f"row {row.row_id}, {_since(health, row.failed_at)} ago: {plain(row.error, TEXT_CHARS_MAX)}"


def _since(health: Health, when: float) -> str:
    return duration(max(0.0, health.sampled_at - when))
