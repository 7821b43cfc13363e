"""Every event the relay logs, with its level and one sentence; nothing else can be logged.

Names are dotted and stable: alerts on log lines and the runbook are keyed by them.
"""

import logging
from collections.abc import Callable, Mapping

import structlog

_DEBUG, _INFO, _WARNING, _ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR

_TABLE: Mapping[str, tuple[int, str]] = {
    "relay.starting": (_INFO, "The settings were read; the line carries them, passwords masked."),
    "relay.started": (_INFO, "The lanes turn; from here on the state is told only when it changes."),
    "relay.stopping": (_INFO, "A signal came: nothing more is claimed, what is in flight is finished."),
    "relay.hurried": (
        _WARNING,
        "A second signal came, or the grace ran out: rows in flight are given back unfinished.",
    ),
    "relay.gave_up": (
        _ERROR,
        "A server did not answer and the grace is over: the process leaves; its rows are free when their lease ends.",
    ),
    "relay.stopped": (_INFO, "The relay has ended as it was asked to."),
    "relay.crashed": (_ERROR, "The relay ended by a fault of its own; its rows are free when their lease ends."),
    "tick": (
        _INFO,
        "A claim was carried to its end: rows by outcome and mark, an example of each refusal, and the seconds.",
    ),
    "rows.failed": (_WARNING, "Rows were given up; only a person's requeue brings them back."),
    "lease.lost": (_WARNING, "Another relay took rows that were in flight here; consumers may see them twice."),
    "marks.deferred": (_WARNING, "Marks could not be written; they stay in memory and are written first of all later."),
    "outage.began": (_WARNING, "A server cannot be used; nothing is claimed until it can."),
    "outage.changed": (_WARNING, "The outage goes on for another reason than before."),
    "outage.probed": (_DEBUG, "The server is asked whether it is back."),
    "outage.lasts": (_DEBUG, "The server is not back yet."),
    "outage.ended": (_INFO, "The server is back; the flow begins with one row and widens."),
    "flow.widened": (_DEBUG, "After an outage a claim may take more rows; without a limit the flow is full again."),
    "schema.missing": (_ERROR, "The table, or a part of it or a grant on it, is missing; the line says what to do."),
    "schema.ready": (_INFO, "What was missing is there."),
    "doorbell.ready": (_INFO, "The table has a doorbell: an idle relay sleeps until it rings, one of all replicas."),
    "doorbell.absent": (_INFO, "The table has no doorbell any more; rows are found by the poll."),
    "doorbell.pooled": (
        _WARNING,
        "A pooler stands before the database, through which no doorbell is heard; rows are found by the poll.",
    ),
    "doorbell.lost": (_WARNING, "The doorbell's connection is lost; rows are found by the poll until it is back."),
    "backlog.sampled": (_DEBUG, "The backlog was counted for the metrics."),
    "backlog.sample_failed": (_WARNING, "The backlog could not be counted; its metrics stand still."),
    "backlog.sample_recovered": (_INFO, "The backlog can be counted again."),
    "health.sample_failed": (_WARNING, "The table's health could not be looked at; its metrics stand still."),
    "health.sample_recovered": (_INFO, "The table's health can be looked at again."),
    "web.started": (_INFO, "Health, metrics and status are served at this address and port."),
    "web.failed": (_ERROR, "Health, metrics and status cannot be served; the relay goes on relaying without them."),
    "library.logged": (_INFO, "A library said something; its level and logger are its own."),
}

EVENTS: Mapping[str, str] = {name: sentence for name, (_, sentence) in _TABLE.items()}

Tell = Callable[..., None]
"""Takes the name of an event and its fields."""


def tell(event: str, **fields: object) -> None:
    """Log an event of the table. Raises KeyError for any other name."""
    level, _ = _TABLE[event]
    structlog.get_logger("relay").log(level, event, **fields)
