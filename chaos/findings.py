"""Everything that can be wrong with single messages, found one kind at a time. Pure.

Each function gives one line a message, which begins with its name.
"""

from collections.abc import Iterator, Mapping, Sequence

from chaos.evidence import Evidence, refusal, touched
from chaos.history import Arrival, Attempt, Fate

PERSISTENT = 2
"""AMQP's delivery mode of a message that a broker must keep on disk."""


def lost(evidence: Evidence) -> Iterator[str]:
    failed, erased = {row.message_id for row in evidence.of_status("failed")}, evidence.erased
    gone = evidence.committed.keys() - evidence.firsts.keys() - failed - erased
    return (message_id for message_id in evidence.committed if message_id in gone)


def pending(evidence: Evidence) -> Iterator[str]:
    return (row.message_id for row in evidence.of_status("pending"))


def missing(evidence: Evidence) -> Iterator[str]:
    erased = evidence.erased
    return (message_id for message_id in evidence.missing if message_id not in erased)


def failed_without_cause(evidence: Evidence) -> Iterator[str]:
    for row in evidence.of_status("failed"):
        reason = refusal(row.last_error)
        if reason is None or not evidence.explained(row):
            yield f"{row.message_id} ({reason or 'no reason'})"


def phantom_rolled_back(evidence: Evidence) -> Iterator[str]:
    for message_id in evidence.firsts:
        attempt = evidence.attempts.get(message_id)
        if attempt is not None and attempt.fate is Fate.ROLLED_BACK:
            yield message_id


def phantom_vanished(evidence: Evidence) -> Iterator[str]:
    """An unknown commit that is not in the table did not happen, or was forgotten: nobody may hear of it."""
    for message_id in evidence.firsts:
        attempt = evidence.attempts.get(message_id)
        if attempt is not None and attempt.fate is not Fate.ROLLED_BACK and message_id not in evidence.rows:
            yield message_id


def phantom_unknown(evidence: Evidence) -> Iterator[str]:
    return (message_id for message_id in evidence.firsts if message_id not in evidence.attempts)


def false_sent(evidence: Evidence) -> Iterator[str]:
    return (row.message_id for row in evidence.of_status("sent") if row.message_id not in evidence.firsts)


def false_failed(evidence: Evidence) -> Iterator[str]:
    return (row.message_id for row in evidence.of_status("failed") if row.message_id in evidence.firsts)


def false_failed_without_doubt(evidence: Evidence) -> Iterator[str]:
    """Only a fault that left a publish unanswered can have sent a row that was then refused."""
    doubts = [fault for fault in evidence.history.faults if fault.repeats_max]
    for message_id in false_failed(evidence):
        attempt, row = evidence.attempts[message_id], evidence.rows[message_id]
        if not any(touched(fault, attempt, row) for fault in doubts):
            yield message_id


def sent_early(evidence: Evidence) -> Iterator[str]:
    """Give rows whose mark is older than their message.

    The queue keeps its order: what was inserted after a mark cannot leave it before the message that was marked.
    """
    newest = 0.0
    for message_id, first in evidence.firsts.items():
        attempt, row = evidence.attempts.get(message_id), evidence.rows.get(message_id)
        if attempt is None or first.redelivered:
            continue
        newest = max(newest, attempt.at)
        if row is not None and row.status == "sent" and (row.sent_at or 0.0) < newest:
            yield message_id


def altered(evidence: Evidence) -> Iterator[str]:
    for message_id, differences in _differences(evidence).items():
        yield f"{message_id} ({', '.join(differences)})"


def _differences(evidence: Evidence) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for arrival in evidence.history.arrivals:
        attempt = evidence.attempts.get(arrival.message_id)
        if attempt is None:
            continue
        for name in _different(evidence, attempt, arrival):
            names = found.setdefault(arrival.message_id, [])
            if name not in names:
                names.append(name)
    return found


def _different(evidence: Evidence, attempt: Attempt, arrival: Arrival) -> Iterator[str]:
    row = evidence.rows.get(arrival.message_id)
    pairs = {
        "body": (attempt.body, arrival.body),
        "exchange": (attempt.exchange, arrival.exchange),
        "routing key": (attempt.routing_key, arrival.routing_key),
        "headers or properties": (attempt.labels, arrival.labels),
        "row id": (arrival.row_id if row is None else row.id, arrival.row_id),
        "delivery mode": (PERSISTENT, arrival.delivery_mode),
    }
    return (name for name, (given, came) in pairs.items() if given != came)


def unmarked(evidence: Evidence) -> Iterator[str]:
    """Give copies that say they are the first although another one of their message says so, too."""
    plain = {message_id for message_id, first in evidence.firsts.items() if first.attempt == 1}
    for copy in evidence.copies:
        if copy.attempt == 1:
            if copy.message_id in plain:
                yield copy.message_id
            plain.add(copy.message_id)


def charged(evidence: Evidence) -> Iterator[str]:
    for row in evidence.rows.values():
        if row.failures and not evidence.explained(row):
            yield f"{row.message_id} ({refusal(row.last_error) or 'no reason'})"


def order_violations(evidence: Evidence) -> Iterator[str]:
    return (each.message_id for each, first in _younger_before(evidence) if first and not each.redelivered)


def handed_out_late(evidence: Evidence) -> Iterator[str]:
    """Give messages that the broker had handed out before, to a drain that was cut off before it wrote them down.

    They were in front of what was never handed out, and a quorum queue that was killed may deliver them behind it.
    """
    return (each.message_id for each, first in _younger_before(evidence) if first and each.redelivered)


def regressions(evidence: Evidence) -> Iterator[str]:
    return (each.message_id for each, first in _younger_before(evidence) if not first)


def _younger_before(evidence: Evidence) -> Iterator[tuple[Arrival, bool]]:
    """Give each arrival of a message after a younger one of its key, and whether it was the message's first."""
    newest: dict[str, int] = {}
    again = {copy.position for copy in evidence.copies}
    for arrival in evidence.history.arrivals:
        attempt = evidence.committed.get(arrival.message_id)
        first = evidence.firsts[arrival.message_id] is arrival
        if attempt is None or attempt.key is None or not (first or arrival.position in again):
            continue
        if attempt.sequence < newest.get(attempt.key, attempt.sequence):
            yield arrival, first
        newest[attempt.key] = max(attempt.sequence, newest.get(attempt.key, attempt.sequence))
