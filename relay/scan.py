"""Where a claim begins to look: at the low-water mark, and now and then below it.

The index keeps an entry of every sent row until vacuum removes it, and an old snapshot forbids that, so a scan from
0 grows with history. A scan from the mark does not. The mark is only a hint: rows below it (late commits, retries,
leases that ran out) are found by a walk from 0 up to it, every `rescan_s` seconds and when the relay falls idle.

A claim looks at one window of the index only, and tells where the next row waits behind it. So the mark, too, passes
by rows that are not due, however many there are; and a walk is made in steps, each followed by a claim from the mark,
so slowly that it has WALK_SHARE of the time.
"""

from dataclasses import dataclass, replace

LATE_COMMIT_S = 1.0
"""A transaction may commit this much after a later id was seen and still be found by the next claim."""
WALK_SHARE = 0.1
"""Of the time may be spent on looks that are not expected to find a row."""


@dataclass(frozen=True, slots=True)
class Look:
    """Where a claim begins."""

    low: int
    walks: bool = False
    """It is a step of a walk below the mark."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What became of a claim."""

    last_id: int | None
    """The highest id it took; None: nothing."""
    more: bool
    beyond: int | None
    """The first row that waits behind its window; None: it looked at all from its begin on."""
    took_s: float = 0.0


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
    """When the last walk ended."""
    untidy: bool = True
    """Rows were found since the last walk began, so an empty claim does not yet mean an empty table."""
    walk: int | None = None
    """Where the walk that is under way goes on, not before `walk_at`."""
    walk_at: float = float("-inf")
    stepped: bool = False
    """The last claim was a step of a walk, so the mark has its turn."""
    paused_until: float = float("-inf")
    """With order per key: the last claim met blocked keys only, and more keys are to be visited, but not before."""


def start(scan: Scan, *, idle: bool, now: float, rescan_s: float) -> Look:
    """Return where the next claim begins."""
    if scan.low == 0 or scan.stepped:
        return Look(scan.low)
    if scan.walk is not None:
        return Look(scan.walk, walks=True) if now >= scan.walk_at else Look(scan.low)
    due = now - scan.rescanned_at >= rescan_s
    return Look(0, walks=True) if due or (idle and scan.untidy) else Look(scan.low)


def rest_s(scan: Scan, poll_s: float, *, now: float) -> float:
    """Return the rest before the next claim, when a poll alone would be after `poll_s`."""
    if scan.paused_until > now:
        return scan.paused_until - now
    if scan.stepped:
        return 0.0
    return poll_s if scan.walk is None else min(poll_s, max(0.0, scan.walk_at - now))


def told(scan: Scan) -> Scan:
    """Take the news that there are rows, perhaps below the mark."""
    return replace(scan, untidy=True)


def saw(scan: Scan, look: Look, sight: Sight, *, now: float) -> Scan:
    """Take the result of a claim that began there."""
    found = sight.last_id is not None
    high = scan.high if sight.last_id is None else max(scan.high, sight.last_id + 1)
    untidy = found or (scan.untidy and look.low != 0)
    paused_until = now + _rest_after_s(sight) if sight.more and not found else scan.paused_until
    scan = replace(scan, high=high, untidy=untidy, paused_until=paused_until, stepped=look.walks)
    return _walked(scan, sight, now) if look.walks else _marked(scan, look, sight, now)


def _marked(scan: Scan, look: Look, sight: Sight, now: float) -> Scan:
    low, pending_low, pending_since = scan.low, scan.pending_low, scan.pending_since
    if sight.more and sight.last_id is not None:
        low = sight.last_id + 1  # in the midst of a backlog: go on behind this batch
    elif sight.beyond is not None:
        low = max(low, sight.beyond)
    elif now - pending_since >= LATE_COMMIT_S:
        low, pending_low, pending_since = max(low, pending_low), scan.high, now
    rescanned_at = now if _to_the_mark(scan, look, sight) else scan.rescanned_at
    return replace(scan, low=low, pending_low=pending_low, pending_since=pending_since, rescanned_at=rescanned_at)


def _to_the_mark(scan: Scan, look: Look, sight: Sight) -> bool:
    """Return whether a claim looked at everything below the mark."""
    return look.low == 0 and (sight.beyond is None or sight.beyond >= scan.low)


def _walked(scan: Scan, sight: Sight, now: float) -> Scan:
    cut = sight.more and sight.last_id is not None
    on = sight.last_id + 1 if sight.more and sight.last_id is not None else sight.beyond
    if on is None or on >= scan.low:
        return replace(scan, walk=None, rescanned_at=now)
    rest = 0.0 if cut else _rest_after_s(sight)  # cut: a backlog below the mark, as after a requeue
    return replace(scan, walk=on, walk_at=now + rest)


def _rest_after_s(sight: Sight) -> float:
    """Return how long to leave the database alone after a look for what is rarely there."""
    return sight.took_s * (1 / WALK_SHARE - 1)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A look at everything, window by window: what a drain ends with, and where a probe finds its row."""

    at: int = 0
    """Where it goes on. One past the row of the last probe: should that row be what ends the connection, another is
    asked next.
    """
    clean: bool = False
    """It began at 0 and found nothing so far."""
    quiet: bool = False
    """No batch was carried beside it."""
    whole: bool = False
    """It ended, and there is nothing anywhere."""


def swept(sweep: Sweep, look: Look, sight: Sight, *, quiet: bool, probing: bool) -> Sweep:
    """Take the result of a claim that began there; any that leads nowhere near makes it begin again."""
    if sight.last_id is not None:
        return Sweep(sight.last_id + 1 if probing else 0)
    if sight.more or look.low not in {0, sweep.at}:  # more and no row: order per key has not looked at every key yet
        return Sweep()
    clean = look.low == 0 or sweep.clean
    quiet = quiet and (look.low == 0 or sweep.quiet)
    if sight.beyond is not None:
        return Sweep(sight.beyond, clean, quiet)
    return Sweep(clean=clean, quiet=quiet, whole=clean)
