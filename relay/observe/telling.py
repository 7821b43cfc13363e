"""How reports, changes and samples are told: the fields of log lines and of the status page. Pure."""

from collections.abc import Mapping
from typing import Any, assert_never

from relay.model import Backlog, BellState, Health, Snapshot, TickReport
from relay.observe.side import iso
from relay.outage import Flowing, Outage, Probing, State

EXAMPLE_CHARS_MAX = 300
BELL: Mapping[BellState, str] = {
    BellState.ABSENT: "doorbell.absent",
    BellState.READY: "doorbell.ready",
    BellState.POOLED: "doorbell.pooled",
    BellState.LOST: "doorbell.lost",
}
"""The event that tells of a state of the doorbell."""


def tick(report: TickReport) -> dict[str, Any]:
    """Return a report as the fields of its one log line, zeros left out."""
    fields: dict[str, Any] = {"claimed": report.claimed} | counts(report.outcomes)
    if report.delays_s:
        fields["delay_max_s"] = round(max(report.delays_s), 4)
    marks = {"retried": report.retried, "failed": sum(report.failed.values()), "released": report.released}
    fields |= {name: rows for name, rows in marks.items() if rows}
    if report.examples:
        fields["examples"] = {str(reason): text[:EXAMPLE_CHARS_MAX] for reason, text in report.examples.items()}
    if report.doubts:
        fields["doubts"] = counts(report.doubts)
    seconds = {"claim_s": report.claim_s, "publish_s": report.publish_s, "carry_s": report.carry_s}
    return fields | {name: round(value, 4) for name, value in seconds.items()}


def counts(rows: Mapping[Any, int]) -> dict[str, int]:
    """Return counts under plain names."""
    return {str(name): number for name, number in rows.items()}


def change(before: State, after: State, *, lasted_s: float) -> tuple[str, dict[str, Any]]:
    """Return the event of a change of state and its fields; `lasted_s` is the length of the outage up to now."""
    match after:
        case Flowing(limit=limit, proven=proven):
            if isinstance(before, Flowing):
                return "flow.widened", {"limit": limit}
            fields = {"reason": before.fault.value, "lasted_s": round(lasted_s, 3), "probes": before.probes}
            return "outage.ended", fields | {"proven": proven}
        case Probing(fault=fault, probes=probes):
            return "outage.probed", {"reason": fault.value, "probes": probes}
        case Outage(fault=fault, probes=probes):
            if isinstance(before, Flowing):
                return "outage.began", {"reason": fault.value}
            event = "outage.lasts" if fault is before.fault else "outage.changed"
            return event, {"reason": fault.value, "probes": probes}
        case _:
            assert_never(after)


def backlog(sample: Backlog) -> dict[str, Any]:
    """Return a sample as JSON."""
    return {
        "pending": sample.pending,
        "retrying": sample.retrying,
        "failed": sample.failed,
        "capped": sample.capped,
        "blocked_keys": sample.blocked_keys,
        "oldest_pending_age_seconds": round(sample.oldest_age_s, 3),
        "sampled_at": iso(sample.sampled_at),
    }


def samples(newest: Backlog | None, health: Health | None) -> dict[str, Any]:
    """Return all that was sampled from the table as JSON; every key is always there."""
    return {
        "backlog": None if newest is None else backlog(newest),
        "table": _table(health),
        "replicas": _replicas(health),
        "failures": _failures(health),
    }


def _table(health: Health | None) -> dict[str, Any] | None:
    if health is None:
        return None
    return {
        "live_tuples": health.live_tuples,
        "dead_tuples": health.dead_tuples,
        "table_bytes": health.table_bytes,
        "index_bytes": health.index_bytes,
        "last_autovacuum_at": None if health.last_autovacuum_at is None else iso(health.last_autovacuum_at),
        "oldest_sent_at": None if health.oldest_sent_at is None else iso(health.oldest_sent_at),
        "complete": health.complete,
        "sampled_at": iso(health.sampled_at),
        "snapshots": [_snapshot(each) for each in health.snapshots],
    }


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "holder": snapshot.holder.value,
        "age_seconds": None if snapshot.age_s is None else round(snapshot.age_s, 3),
        "transactions": snapshot.transactions,
        "pid": snapshot.pid,
        "application": snapshot.application,
        "name": snapshot.name,
    }


def _replicas(health: Health | None) -> list[dict[str, Any]]:
    return [{"name": each.name, "version": each.version} for each in (health.replicas if health else ())]


def _failures(health: Health | None) -> list[dict[str, Any]]:
    return [
        {
            "row_id": each.row_id,
            "reason": each.reason,
            "error": each.error,
            "failures": each.failures,
            "at": iso(each.failed_at),
        }
        for each in (health.failures if health else ())
    ]
