"""How reports, changes and samples are told: the fields of log lines and of the status page. Pure."""

from collections.abc import Mapping
from typing import Any, assert_never

from relay.model import Backlog, BellState, TickReport
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
