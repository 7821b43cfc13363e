"""What is sampled from the table: kept for the pages, shown as metrics, and told when it fails or comes back."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from prometheus_client import Counter

from relay.model import Backlog, Fault, Health, Holder
from relay.observe import telling
from relay.observe.events import tell
from relay.observe.metrics import Metrics


class Trouble:
    """Whether one kind of sample can be taken: told once for each reason, and once when it can again."""

    def __init__(self, errors: Counter, *, failed: str, recovered: str) -> None:
        self._errors = errors
        self._failed = failed
        self._recovered = recovered
        self._fault: Fault | None = None

    def came(self, fault: Fault) -> None:
        """Count a sample that failed."""
        self._errors.inc()
        if fault is not self._fault:
            tell(self._failed, reason=fault.value)
        self._fault = fault

    def is_over(self) -> None:
        """Take note of a sample that succeeded."""
        if self._fault is not None:
            self._fault = None
            tell(self._recovered)


class Samples:
    """The newest sample of each kind; None before the first."""

    def __init__(self, metrics: Metrics, redact: Callable[[str], str]) -> None:
        self._metrics = metrics
        self._redact = redact
        self.backlog: Backlog | None = None
        self.health: Health | None = None
        self.no_backlog = Trouble(
            metrics.sample_errors, failed="backlog.sample_failed", recovered="backlog.sample_recovered"
        )
        self.no_health = Trouble(
            metrics.health_errors, failed="health.sample_failed", recovered="health.sample_recovered"
        )

    def take_backlog(self, backlog: Backlog) -> None:
        """Show a new sample of the backlog."""
        metrics, before, self.backlog = self._metrics, self.backlog, backlog
        if before is not None:
            metrics.rows_inserted.inc(max(0, backlog.inserted - before.inserted))
            metrics.rows_deleted.inc(max(0, backlog.deleted - before.deleted))
        for state, rows in (("pending", backlog.pending), ("retrying", backlog.retrying), ("failed", backlog.failed)):
            metrics.outbox_rows.labels(state).set(rows)
        metrics.rows_capped.set(backlog.capped)
        metrics.oldest_age.set(backlog.oldest_age_s)
        metrics.blocked_keys.set(backlog.blocked_keys)
        metrics.sampled_at.set(backlog.sampled_at)
        self.no_backlog.is_over()
        tell("backlog.sampled", **telling.backlog(backlog))

    def take_health(self, health: Health) -> None:
        """Show a new sample of the table's health."""
        failures = tuple(replace(row, error=self._redact(row.error)) for row in health.failures)
        metrics, self.health = self._metrics, replace(health, failures=failures)
        metrics.live_tuples.set(health.live_tuples)
        metrics.dead_tuples.set(health.dead_tuples)
        metrics.table_bytes.set(health.table_bytes)
        metrics.index_bytes.set(health.index_bytes)
        metrics.last_autovacuum.set(health.last_autovacuum_at or 0.0)
        metrics.oldest_sent.set(health.oldest_sent_at or 0.0)
        held = {snapshot.holder: snapshot for snapshot in health.snapshots}
        for holder in Holder:
            snapshot = held.get(holder)
            metrics.snapshot_age.labels(holder.value).set((snapshot.age_s or 0.0) if snapshot else 0.0)
            metrics.snapshot_transactions.labels(holder.value).set(snapshot.transactions if snapshot else 0)
        metrics.health_complete.set(health.complete)
        metrics.health_at.set(health.sampled_at)
        metrics.replicas.set(len(health.replicas))
        self.no_health.is_over()

    def told(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return telling.samples(self.backlog, self.health)
