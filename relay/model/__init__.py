"""The words of the relay, as frozen data; every other module speaks them.

A *row* is claimed under a *claim* (a lease with a token), sealed into an *envelope*, published; the broker's
answer is an *outcome*, which a decision turns into a *mark*, which the store settles.
"""

from relay.model.health import FailedRow, Health, Holder, Replica, Snapshot
from relay.model.mark import Failed, Mark, Release, Retry, Sent
from relay.model.outcome import Answer, Confirmed, Doubt, Fault, Outcome, Refusal, Refused, Unknown, Unreachable
from relay.model.report import Backlog, BellState, Doorbell, TickReport
from relay.model.row import Claim, Envelope, HeaderValue, Row

__all__ = [
    "Answer",
    "Backlog",
    "BellState",
    "Claim",
    "Confirmed",
    "Doorbell",
    "Doubt",
    "Envelope",
    "Failed",
    "FailedRow",
    "Fault",
    "HeaderValue",
    "Health",
    "Holder",
    "Mark",
    "Outcome",
    "Refusal",
    "Refused",
    "Release",
    "Replica",
    "Retry",
    "Row",
    "Sent",
    "Snapshot",
    "TickReport",
    "Unknown",
    "Unreachable",
]
