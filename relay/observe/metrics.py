"""Every metric: name, sentence, labels with all their values, buckets. Every series exists, at 0, from the start."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from platform import python_version
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from relay.model import BellState, Doubt, Fault, Holder, Refusal
from relay.observe.collectors import BatchHistogram, ScrapedCounter

SIDES = ("broker", "database")
DB_OPS = ("claim", "settle", "renew", "backlog", "health", "ready", "ping", "cleanup", "requeue")
"""The operations the store times."""
OUTCOMES = ("confirmed", *(refusal.value for refusal in Refusal), "unreachable")
LABELS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "relay_outbox_rows": {"state": ("pending", "retrying", "failed")},
    "relay_messages_total": {"outcome": OUTCOMES},
    "relay_db_duration_seconds": {"op": DB_OPS},
    "relay_rows_failed_total": {"reason": tuple(refusal.value for refusal in Refusal)},
    "relay_duplicates_possible_total": {"reason": tuple(doubt.value for doubt in Doubt)},
    "relay_outage": {"side": SIDES},
    "relay_outage_reason": {"side": SIDES, "reason": tuple(fault.value for fault in Fault)},
    "relay_outages_total": {"side": SIDES},
    "relay_outage_seconds_total": {"side": SIDES},
    "relay_outbox_oldest_snapshot_age_seconds": {"holder": tuple(holder.value for holder in Holder)},
    "relay_outbox_oldest_snapshot_transactions": {"holder": tuple(holder.value for holder in Holder)},
    "relay_doorbell": {"state": tuple(state.value for state in BellState)},
}
"""Both servers have the same machine, so `side` is a label: max(relay_outage) says whether rows flow at all."""

_TABLE_WIDE = "Table-wide, the same from every replica: use max, never sum."
METRICS: Mapping[str, str] = {
    "relay_outbox_rows": (
        "Rows not sent, at the last sample; pending counts the retrying ones too. Exact up to RELAY_BACKLOG_COUNT_CAP. "
        f"{_TABLE_WIDE}"
    ),
    "relay_outbox_rows_capped": f"1 when there may be more rows than relay_outbox_rows says. {_TABLE_WIDE}",
    "relay_outbox_oldest_pending_age_seconds": (
        f"How long the oldest pending row has been due, at the last sample; 0 without any. {_TABLE_WIDE}"
    ),
    "relay_outbox_blocked_keys": (
        f"With RELAY_ORDERING=key, keys whose next rows wait for a refused one, at the last sample. {_TABLE_WIDE}"
    ),
    "relay_outbox_sample_timestamp_seconds": "Unix time of the last backlog sample, by the database's clock; 0: none.",
    "relay_outbox_sample_errors_total": "Backlog samples that failed.",
    "relay_outbox_rows_inserted_total": (
        "Rows inserted into the table since this relay started, as Postgres counts them: those that were rolled back, "
        f"too. {_TABLE_WIDE}"
    ),
    "relay_outbox_live_tuples": f"Rows in the table, sent ones too, as Postgres estimates them. {_TABLE_WIDE}",
    "relay_outbox_dead_tuples": f"Dead versions of rows that no vacuum has removed yet, as estimated. {_TABLE_WIDE}",
    "relay_outbox_table_bytes": f"Size of the table with its TOAST, free space included. {_TABLE_WIDE}",
    "relay_outbox_index_bytes": f"Size of all indexes of the table. {_TABLE_WIDE}",
    "relay_outbox_last_autovacuum_timestamp_seconds": (
        f"Unix time when autovacuum last finished with the table; 0: none known. {_TABLE_WIDE}"
    ),
    "relay_outbox_oldest_sent_timestamp_seconds": (
        f"Unix time when the oldest of the sent rows was sent; 0: there is none, or it took too long to find. "
        f"{_TABLE_WIDE}"
    ),
    "relay_outbox_oldest_snapshot_age_seconds": (
        "For how long the transaction of the oldest snapshot of this kind has been open, behind which vacuum removes "
        f"nothing; 0: there is none, or its age is unknown. {_TABLE_WIDE}"
    ),
    "relay_outbox_oldest_snapshot_transactions": (
        f"How many transactions the oldest snapshot of this kind is behind; 0: there is none. {_TABLE_WIDE}"
    ),
    "relay_outbox_health_complete": (
        "1 when this login sees the activity of all others (pg_read_all_stats, as in pg_monitor); "
        "else the age of their snapshots is known in transactions only."
    ),
    "relay_outbox_health_timestamp_seconds": (
        "Unix time of the last sample of the table's health, by the database's clock; 0: none."
    ),
    "relay_outbox_health_errors_total": "Samples of the table's health that failed.",
    "relay_replicas": f"Relays that are connected to the table's database. {_TABLE_WIDE}",
    "relay_messages_total": "Rows carried to an outcome.",
    "relay_publish_duration_seconds": (
        "Time a batch waited for the broker: from its first byte to its last answer, marking left out."
    ),
    "relay_delivery_delay_seconds": "From the moment a row became due until its confirm.",
    "relay_batch_rows": "Rows in one claim that found any.",
    "relay_db_duration_seconds": "Time of one operation in the database, also of one that failed.",
    "relay_rows_failed_total": "Rows given up; a person has to requeue them.",
    "relay_duplicates_possible_total": "Rows that a consumer may see twice.",
    "relay_leases_lost_total": "Rows that another relay took while they were in flight here.",
    "relay_marks_deferred_total": "Marks that could not be written at once and were kept in memory.",
    "relay_outage": "1 while this server cannot be used and nothing is claimed.",
    "relay_outage_reason": "1 for the reason of the outage that stands.",
    "relay_outages_total": "Outages that began.",
    "relay_outage_seconds_total": "Time spent in outages, the one that stands included.",
    "relay_broker_connected": "1 while there is a connection to RabbitMQ.",
    "relay_broker_blocked": "1 since RabbitMQ blocked publishers (a memory or disk alarm), until it confirms again.",
    "relay_db_connected": "1 while the database answers.",
    "relay_doorbell": "1 for how the doorbell stands, as this relay sees it; without it rows are found by the poll.",
    "relay_doorbell_held": "1 while this relay holds the doorbell and sleeps until it rings; one replica at a time.",
    "relay_doorbell_rings_total": "Rings of the doorbell that this relay heard.",
    "relay_last_tick_timestamp_seconds": "Unix time when the loop last turned, also without rows and in an outage.",
    "relay_last_confirm_timestamp_seconds": "Unix time of the last confirm from RabbitMQ; 0: none yet.",
    "relay_claimed_rows_in_flight": "Rows in the hands of this relay now.",
    "relay_cleanup_rows_deleted_total": (
        "Rows deleted from the table since this relay started, whoever deleted them, as Postgres counts them: "
        "table-wide, use max, never sum."
    ),
    "relay_asyncio_tasks": "Tasks on the relay's event loop; a number that keeps rising is a leak.",
    "relay_build_info": "Versions of the relay and of Python.",
}
"""Beside these, relay_config_<setting> gives every numeric setting, and there are the process_, python_ metrics."""

_PUBLISH_BOUNDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_DELAY_BOUNDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_ROWS_BOUNDS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)
_DB_BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_M = TypeVar("_M", Counter, Gauge, Histogram)


class Metrics:
    """The metrics of one relay in a registry of their own."""

    def __init__(
        self, *, version: str, config: Mapping[str, float], outage_seconds: Callable[[], Mapping[str, float]]
    ) -> None:
        # Else every counter has a twin that says when this process began.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left it bare
        self.registry = CollectorRegistry()
        self._samples()
        self._flow()
        self._servers(outage_seconds)
        Info("relay_build", METRICS["relay_build_info"], registry=self.registry).info(
            {"version": version, "python": python_version()}
        )
        for name, value in config.items():
            Gauge(f"relay_config_{name}", f"The setting RELAY_{name.upper()}.", registry=self.registry).set(value)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def _samples(self) -> None:
        self.outbox_rows = self._gauge("relay_outbox_rows")
        self.rows_capped = self._gauge("relay_outbox_rows_capped")
        self.oldest_age = self._gauge("relay_outbox_oldest_pending_age_seconds")
        self.blocked_keys = self._gauge("relay_outbox_blocked_keys")
        self.sampled_at = self._gauge("relay_outbox_sample_timestamp_seconds")
        self.sample_errors = self._counter("relay_outbox_sample_errors_total")
        self.rows_inserted = self._counter("relay_outbox_rows_inserted_total")
        self.rows_deleted = self._counter("relay_cleanup_rows_deleted_total")
        self.live_tuples = self._gauge("relay_outbox_live_tuples")
        self.dead_tuples = self._gauge("relay_outbox_dead_tuples")
        self.table_bytes = self._gauge("relay_outbox_table_bytes")
        self.index_bytes = self._gauge("relay_outbox_index_bytes")
        self.last_autovacuum = self._gauge("relay_outbox_last_autovacuum_timestamp_seconds")
        self.oldest_sent = self._gauge("relay_outbox_oldest_sent_timestamp_seconds")
        self.snapshot_age = self._gauge("relay_outbox_oldest_snapshot_age_seconds")
        self.snapshot_transactions = self._gauge("relay_outbox_oldest_snapshot_transactions")
        self.health_complete = self._gauge("relay_outbox_health_complete")
        self.health_at = self._gauge("relay_outbox_health_timestamp_seconds")
        self.health_errors = self._counter("relay_outbox_health_errors_total")
        self.replicas = self._gauge("relay_replicas")

    def _flow(self) -> None:
        self.messages = self._counter("relay_messages_total")
        self.publish_s = self._histogram("relay_publish_duration_seconds", _PUBLISH_BOUNDS)
        delay = "relay_delivery_delay_seconds"
        self.delay_s = BatchHistogram(delay, METRICS[delay], _DELAY_BOUNDS)
        self.registry.register(self.delay_s)
        self.batch_rows = self._histogram("relay_batch_rows", _ROWS_BOUNDS)
        self.rows_failed = self._counter("relay_rows_failed_total")
        self.doubts = self._counter("relay_duplicates_possible_total")
        self.leases_lost = self._counter("relay_leases_lost_total")
        self.marks_deferred = self._counter("relay_marks_deferred_total")
        self.in_flight = self._gauge("relay_claimed_rows_in_flight")
        self.last_tick = self._gauge("relay_last_tick_timestamp_seconds")
        self.last_confirm = self._gauge("relay_last_confirm_timestamp_seconds")

    def _servers(self, outage_seconds: Callable[[], Mapping[str, float]]) -> None:
        self.db_s = self._histogram("relay_db_duration_seconds", _DB_BOUNDS)
        self.outage = self._gauge("relay_outage")
        self.outage_reason = self._gauge("relay_outage_reason")
        self.outages = self._counter("relay_outages_total")
        lasted = "relay_outage_seconds_total"
        self.registry.register(ScrapedCounter(lasted, METRICS[lasted], "side", outage_seconds))
        self.broker_connected = self._gauge("relay_broker_connected")
        self.broker_blocked = self._gauge("relay_broker_blocked")
        self.db_connected = self._gauge("relay_db_connected")
        self.doorbell = self._gauge("relay_doorbell")
        self.doorbell_held = self._gauge("relay_doorbell_held")
        self.rings = self._counter("relay_doorbell_rings_total")
        self._gauge("relay_asyncio_tasks").set_function(_tasks)

    def exposed(self, accept: str) -> tuple[bytes, str]:
        """Return what Prometheus reads, and its content type, in the format its Accept header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _gauge(self, name: str) -> Gauge:
        return _whole(Gauge(name, METRICS[name], tuple(LABELS.get(name, ())), registry=self.registry), name)

    def _counter(self, name: str) -> Counter:
        return _whole(Counter(name, METRICS[name], tuple(LABELS.get(name, ())), registry=self.registry), name)

    def _histogram(self, name: str, bounds: tuple[float, ...]) -> Histogram:
        labels = tuple(LABELS.get(name, ()))
        return _whole(Histogram(name, METRICS[name], labels, buckets=bounds, registry=self.registry), name)


def _tasks() -> int:
    """Count the tasks at a scrape, which is made on the relay's loop; elsewhere there are none."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0


def known(word: str, words: Sequence[str]) -> str:
    """Return a label's value; the library would make a series of any. Raises ValueError outside the closed set."""
    if word not in words:
        raise ValueError(f"{word!r} is none of {', '.join(words)}")
    return word


def _whole(metric: _M, name: str) -> _M:
    """Make every series of a metric: a counter that appears with its first event hides that event from rate()."""
    labels = LABELS.get(name, {})
    if labels:
        for values in product(*labels.values()):
            metric.labels(*values)
    return metric
