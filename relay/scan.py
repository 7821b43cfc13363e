"""Where a claim begins to look: the low-water mark that skips the dead head of the pending index.

The index keeps an entry of every sent row until vacuum removes it, and an old snapshot forbids that, so a scan from
0 grows with history. A scan from the mark does not. The mark is only a hint: rows below it (late commits, retries,
leases that ran out) are found by the scan from 0 that runs every `rescan_s` seconds and when the relay falls idle.
"""

from dataclasses import dataclass

LATE_COMMIT_S = 1.0
"""A transaction may commit this much after a later id was seen and still be found by the next claim."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The mark, and what is known about the rows below it."""

    low: int = 0
    high: int = 0
    """One past the highest id ever claimed."""
    pending_low: int = 0
    pending_since: float = float("-inf")
    """`high` as it was at `pending_since`: it becomes the mark when it is LATE_COMMIT_S old."""
    rescanned_at: float = float("-inf")
    untidy: bool = True
    """Rows were found since the last scan from 0, so an empty claim does not yet mean an empty table."""


def start(scan: Scan, *, idle: bool, now: float, rescan_s: float) -> int:
    """Return the id at which the next claim begins; 0 when it is time to look at everything."""
    due = now - scan.rescanned_at >= rescan_s
    return 0 if due or (idle and scan.untidy) else scan.low


def saw(scan: Scan, *, began: int, last_id: int | None, more: bool, now: float) -> Scan:
    """Take the result of a claim that began at `began` and ended at `last_id` (None: it found nothing)."""
    high = scan.high if last_id is None else max(scan.high, last_id + 1)
    rescanned_at = now if began == 0 else scan.rescanned_at
    untidy = last_id is not None or (scan.untidy and began != 0)
    low, pending_low, pending_since = scan.low, scan.pending_low, scan.pending_since
    if more and last_id is not None:
        low = last_id + 1  # in the midst of a backlog: go on behind this batch
    elif now - pending_since >= LATE_COMMIT_S:
        low, pending_low, pending_since = max(low, pending_low), high, now
    return Scan(low, high, pending_low, pending_since, rescanned_at, untidy)
