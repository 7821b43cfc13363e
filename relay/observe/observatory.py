"""The relay seen from outside: what the engine and the adapters tell is counted, logged and answered for."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from relay.model import Backlog, BellState, Fault, Health, TickReport
from relay.observe import telling
from relay.observe.events import tell
from relay.observe.history import History
from relay.observe.metrics import DB_OPS, OUTCOMES, SIDES, Metrics, known
from relay.observe.samples import Samples
from relay.observe.side import Broker, Side, iso
from relay.outage import Flowing, State

LIVE_SILENCE_S = 60.0
"""A loop that has not turned for this long hangs: a turn may wait for a connect and two statements, each bounded."""
PROOF_OPS = frozenset({"claim", "settle", "renew", "ready"})
"""Operations that need the right table with the right grants; each failure of one opens an outage."""
ROW_IDS_SHOWN = 20


class Observatory:
    """Fills `relay.ports.Observer`. It never waits, and raises only for a name that is in no table."""

    def __init__(
        self,
        *,
        version: str,
        name: str,
        config: Mapping[str, float],
        redact: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._version = version
        self._name = name
        self._redact = redact
        self._clock = clock
        self._wall = wall
        self._began_at = self._turned_at = clock()
        self._began_wall = self._turned_wall = wall()
        self._sides = {side: Side(Flowing(), since=self._began_wall) for side in SIDES}
        self._metrics = Metrics(version=version, config=config, outage_seconds=self._outage_seconds)
        self._metrics.last_tick.set_function(lambda: self._turned_wall)
        self._metrics.db_connected.set_function(lambda: self._sides["database"].connected)
        self._samples = Samples(self._metrics, redact)
        self._broker: Broker | None = None
        self._schema_missing = ""
        """What was told last."""
        self._in_flight = 0
        self._confirmed = 0
        self._confirmed_wall = 0.0
        self._history = History(config.get("backlog_sample_seconds", 10.0))

    def tell(self, event: str, **fields: object) -> None:
        """Log an event that another part of the relay met. Raises KeyError for a name not in EVENTS."""
        tell(event, **fields)

    # -- the engine tells ---------------------------------------------------------------------------------------

    def in_flight(self, change: int) -> None:
        """Count rows taken into the hand (positive) or out of it (negative)."""
        self._in_flight += change
        self._metrics.in_flight.set(self._in_flight)

    def ticked(self, report: TickReport) -> None:
        """Count and tell what became of a claim."""
        metrics = self._metrics
        for outcome, rows in report.outcomes.items():
            metrics.messages.labels(known(outcome, OUTCOMES)).inc(rows)
        for reason, rows in report.failed.items():
            metrics.rows_failed.labels(reason.value).inc(rows)
        for doubt, rows in report.doubts.items():
            metrics.doubts.labels(doubt.value).inc(rows)
        metrics.delay_s.observe(report.delays_s)
        if report.claimed:
            metrics.batch_rows.observe(report.claimed)
            if report.publish_s:  # nothing was waited for when no row of the batch went out
                metrics.publish_s.observe(report.publish_s)
            tell("tick", **telling.tick(report))
        if report.failed:
            tell("rows.failed", rows=sum(report.failed.values()), reasons=telling.counts(report.failed))
        if confirmed := report.outcomes.get("confirmed"):
            self._confirmed += confirmed
            self._confirmed_wall = self._wall()
            metrics.last_confirm.set(self._confirmed_wall)
            self._sides["broker"].answer(report.publish_s)

    def turned(self) -> None:
        """Note that the loop is alive."""
        self._turned_at, self._turned_wall = self._clock(), self._wall()

    def lease_lost(self, row_ids: Sequence[int]) -> None:
        """Count and tell rows that another relay took."""
        self._metrics.leases_lost.inc(len(row_ids))
        tell("lease.lost", rows=len(row_ids), row_ids=list(row_ids[:ROW_IDS_SHOWN]))

    def unsettled(self, marks: int, fault: Fault) -> None:
        """Count and tell marks that wait in memory."""
        self._metrics.marks_deferred.inc(marks)
        tell("marks.deferred", marks=marks, reason=fault.value)

    def state_changed(self, side: str, before: State, after: State) -> None:
        """Follow a server into an outage, through its probes and out of it."""
        now, seen = self._clock(), self._sides[side]
        event, fields = telling.change(before, after, lasted_s=seen.outage_lasts(now))
        if not isinstance(after, Flowing):
            fields["detail"] = self._redact(after.detail)
            self._history.missed(side)
        seen.became(after, detail=fields.get("detail", ""), now=now, wall=self._wall())
        self._gauge(side, before, after)
        tell(event, side=side, **fields)
        if side == "database":
            self._follow_schema(after, seen.detail)

    def _gauge(self, side: str, before: State, after: State) -> None:
        if not isinstance(before, Flowing):
            self._metrics.outage_reason.labels(side, before.fault.value).set(0)
        if not isinstance(after, Flowing):
            self._metrics.outage_reason.labels(side, after.fault.value).set(1)
        if isinstance(before, Flowing) and not isinstance(after, Flowing):
            self._metrics.outages.labels(side).inc()
        self._metrics.outage.labels(side).set(not isinstance(after, Flowing))

    def _follow_schema(self, after: State, detail: str) -> None:
        """Say what an operator must add to the database, anew when that becomes known better, and when it is there."""
        if isinstance(after, Flowing):
            if self._schema_missing:
                tell("schema.ready")
            self._schema_missing = ""
        elif after.fault in {Fault.SCHEMA, Fault.PERMISSION} and detail != self._schema_missing:
            self._schema_missing = detail
            tell("schema.missing", detail=detail)

    # -- the adapters tell --------------------------------------------------------------------------------------

    def db(self, op: str, seconds: float) -> None:
        """Count an operation in the database, one of DB_OPS. Of one that failed the state is told right after."""
        self._metrics.db_s.labels(known(op, DB_OPS)).observe(seconds)
        if op in PROOF_OPS:
            self._sides["database"].answer(seconds)

    def watch_broker(self, broker: Broker) -> None:
        """Ask the broker's adapter itself, at every scrape, whether it is connected or blocked."""
        self._broker = broker
        self._metrics.broker_connected.set_function(lambda: broker.connected)
        self._metrics.broker_blocked.set_function(lambda: broker.blocked)

    def watch_bell(self, held: Callable[[], bool]) -> None:
        """Ask at every scrape whether this relay holds the doorbell."""
        self._metrics.doorbell_held.set_function(held)
        self._metrics.doorbell.labels(BellState.ABSENT.value).set(1)

    def bell(self, state: BellState, why: str) -> None:
        """Follow the doorbell."""
        for each in BellState:
            self._metrics.doorbell.labels(each.value).set(each is state)
        tell(telling.BELL[state], **({"detail": self._redact(why)} if why else {}))

    def rang(self) -> None:
        """Count a ring."""
        self._metrics.rings.inc()

    def sampled(self, backlog: Backlog) -> None:
        """Take a new sample of the backlog."""
        self._samples.take_backlog(backlog)
        for side, seen in self._sides.items():
            if not isinstance(seen.state, Flowing):
                self._history.missed(side)
        self._history.sampled(backlog, confirmed=self._confirmed, at=self._clock())

    def sample_failed(self, fault: Fault) -> None:
        """Count a sample that failed, and tell it when the reason is new."""
        self._samples.no_backlog.came(fault)

    def health_sampled(self, health: Health) -> None:
        """Take a new sample of the table's health."""
        self._samples.take_health(health)

    def health_failed(self, fault: Fault) -> None:
        """Count a sample of the table's health that failed, and tell it when the reason is new."""
        self._samples.no_health.came(fault)

    # -- it answers ---------------------------------------------------------------------------------------------

    def live(self) -> bool:
        """Return whether the loop turns; an outage does not matter, for the loop turns in it too."""
        return self._clock() - self._turned_at < LIVE_SILENCE_S

    def ready(self) -> str | None:
        """Say why the relay is not ready; None when the database is reachable and the table is right."""
        database = self._sides["database"]
        if not isinstance(database.state, Flowing):
            return f"database: {database.state.fault.value}: {database.detail}"
        return None if database.answered else "the database has not answered yet"

    def status(self) -> dict[str, Any]:
        """Return the state of everything as JSON."""
        return {
            "name": self._name,
            "version": self._version,
            "started_at": iso(self._began_wall),
            "uptime_seconds": round(self._clock() - self._began_at, 3),
            "live": self.live(),
            "not_ready": self.ready(),
            "broker": self._told_broker(),
            "database": self._sides["database"].told(),
            **self._samples.told(),
            "in_flight_rows": self._in_flight,
            "last_turn_at": iso(self._turned_wall),
            "last_confirm_at": iso(self._confirmed_wall) if self._confirmed_wall else None,
            "history": self._history.told(now=self._clock(), wall=self._wall()),
        }

    def metrics(self, accept: str = "") -> tuple[bytes, str]:
        """Return the metrics and their content type, as OpenMetrics when the Accept header asks for it."""
        return self._metrics.exposed(accept)

    def _told_broker(self) -> dict[str, Any]:
        """Prefer what the adapter knows: a connection may stand without a message on it."""
        side, broker = self._sides["broker"], self._broker
        if broker is None:
            return side.told()
        side.answered = side.answered or broker.connected
        side.latency_s = broker.latency_s
        return side.told() | {"connected": broker.connected, "blocked": broker.blocked}

    def _outage_seconds(self) -> Mapping[str, float]:
        return {side: seen.outage_seconds(self._clock()) for side, seen in self._sides.items()}
