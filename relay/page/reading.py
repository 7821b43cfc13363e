"""What `/status` says, read for a person: the verdict, the numbers, the hour. Pure.

Every text from outside is made printable here, once; a key that is missing, as from another version, is no error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from relay.page.loose import fields, items, number, number_or_none
from relay.page.words import moment, plain

SIDES: Mapping[str, str] = {"database": "Postgres", "broker": "RabbitMQ"}
STALE_SAMPLES = 2.5
"""A sample is late when this many times the spacing have passed without one."""
STALE_S = 15.0
"""A shorter silence tells nothing: a sample may take some seconds."""
DETAIL_CHARS_MAX = 600


class Tone(StrEnum):
    """How it looks."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Side:
    """One server."""

    name: str
    state: str
    since: datetime | None
    latency_s: float | None
    why: str
    """The reason and the detail of an outage, else nothing."""
    probes: int
    limit: int | None
    """Rows a claim may take while the flow widens."""

    @property
    def gone(self) -> bool:
        """It cannot be used."""
        return self.state in {"outage", "probing"}


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of the last hour."""

    ago_s: float
    age_s: float
    pending: int
    in_rate: float | None
    out_rate: float | None
    outage: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """The latest sample."""

    pending: int
    retrying: int
    failed: int
    capped: bool
    blocked_keys: int
    age_s: float
    ago_s: float | None
    """Seconds since it was taken; None when that is not known."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything there is to show."""

    name: str
    version: str
    now: datetime
    uptime_s: float
    live: bool
    sides: Sequence[Side]
    backlog: Backlog | None
    in_flight: int
    points: Sequence[Point]
    every_s: float
    table: Mapping[str, Any] | None
    replicas: Sequence[tuple[str, str]]
    failures: Sequence[Mapping[str, str]]
    config: Mapping[str, str]

    @property
    def stale(self) -> bool:
        """The numbers stand still: no sample came when one should have."""
        ago_s = None if self.backlog is None else self.backlog.ago_s
        return ago_s is not None and ago_s > max(STALE_S, STALE_SAMPLES * self.every_s)


def read(status: Mapping[str, Any]) -> Reading:
    """Read the answer of `/status`."""
    uptime_s = number(status.get("uptime_seconds"))
    began = moment(status.get("started_at")) or datetime.fromtimestamp(0, UTC)
    now = began + timedelta(seconds=uptime_s)
    history = fields(status.get("history"))
    points = [point for each in items(history.get("points")) if (point := _point(fields(each), now))]
    ago_s = points[-1].ago_s if points else None
    table = status.get("table")
    return Reading(
        name=plain(status.get("name", "")),
        version=plain(status.get("version", "")),
        now=now,
        uptime_s=uptime_s,
        live=bool(status.get("live", True)),
        sides=[_side(name, fields(status.get(key))) for key, name in SIDES.items()],
        backlog=_backlog(status.get("backlog"), ago_s),
        in_flight=int(number(status.get("in_flight_rows"))),
        points=points,
        every_s=number(history.get("every_seconds")) or 10.0,
        table=table if isinstance(table, Mapping) else None,
        replicas=[
            (plain(each.get("name", "")), plain(each.get("version", "")))
            for each in map(fields, items(status.get("replicas")))
        ],
        failures=[{key: plain(value) for key, value in fields(each).items()} for each in items(status.get("failures"))],
        config={plain(name): plain(value, DETAIL_CHARS_MAX) for name, value in fields(status.get("config")).items()},
    )


def _side(name: str, told: Mapping[str, Any]) -> Side:
    limit = number_or_none(told.get("limit"))
    why = ": ".join(filter(None, (plain(told.get("reason") or ""), plain(told.get("detail") or "", DETAIL_CHARS_MAX))))
    return Side(
        name=name,
        state=plain(told.get("state") or "unknown"),
        since=moment(told.get("since")),
        latency_s=number_or_none(told.get("latency_seconds")),
        why=why,
        probes=int(number(told.get("probes"))),
        limit=None if limit is None else int(limit),
    )


def _point(told: Mapping[str, Any], now: datetime) -> Point | None:
    at = moment(told.get("at"))
    if at is None:
        return None
    return Point(
        ago_s=max(0.0, (now - at).total_seconds()),
        age_s=number(told.get("oldest_pending_age_seconds")),
        pending=int(number(told.get("pending"))),
        in_rate=number_or_none(told.get("in_per_second")),
        out_rate=number_or_none(told.get("out_per_second")),
        outage=told.get("outage") is not None,
    )


def _backlog(told: object, ago_s: float | None) -> Backlog | None:
    if not isinstance(told, Mapping):
        return None
    return Backlog(
        pending=int(number(told.get("pending"))),
        retrying=int(number(told.get("retrying"))),
        failed=int(number(told.get("failed"))),
        capped=bool(told.get("capped")),
        blocked_keys=int(number(told.get("blocked_keys"))),
        age_s=number(told.get("oldest_pending_age_seconds")),
        ago_s=ago_s,
    )
