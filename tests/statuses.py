"""Answers of `/status`, made up: what the page and `relay top` are drawn from in their tests."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 11, 27, 13, 40, 5, tzinfo=UTC)
HOUR = 360
"""Points of an hour, 10 s apart."""


def iso(ago_s: float) -> str:
    """A moment before NOW, as `/status` writes it."""
    return (NOW - timedelta(seconds=ago_s)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def flowing(**changes: Any) -> dict[str, Any]:
    """A server that does."""
    told = {"state": "flowing", "since": iso(1500), "connected": True, "latency_seconds": 0.0031}
    return told | {"limit": None, "proven": True} | changes


def gone(**changes: Any) -> dict[str, Any]:
    """A server that does not."""
    told = {"state": "outage", "since": iso(300), "connected": False, "latency_seconds": None, "reason": "refused"}
    return told | {"detail": "[Errno 111] Connect call failed ('10.2.0.7', 5672)", "probes": 12} | changes


def points(count: int = HOUR, *, every_s: float = 10.0, ago_s: float = 0.0) -> list[dict[str, Any]]:
    """A history whose last point is `ago_s` old."""
    return [
        {
            "at": iso(ago_s + (count - 1 - each) * every_s),
            "oldest_pending_age_seconds": 40.0 if each == count // 2 else 0.25,
            "pending": 12,
            "in_per_second": None if each == 0 else 280 + round(30 * math.sin(each / 20)),
            "out_per_second": None if each == 0 else 270.0,
            "outage": "broker" if count // 2 - 5 <= each <= count // 2 else None,
        }
        for each in range(count)
    ]


def backlog(**changes: Any) -> dict[str, Any]:
    """A sample."""
    told = {"pending": 12, "retrying": 3, "failed": 2, "capped": False, "blocked_keys": 0}
    return told | {"oldest_pending_age_seconds": 0.25, "sampled_at": iso(2)} | changes


def table(**changes: Any) -> dict[str, Any]:
    """The table's health."""
    snapshots = [
        {
            "holder": "transaction",
            "age_seconds": 812.0,
            "transactions": 50_211,
            "pid": 4711,
            "application": "reporting nightly",
            "name": None,
        },
        {
            "holder": "replication_slot",
            "age_seconds": None,
            "transactions": 1200,
            "pid": None,
            "application": None,
            "name": "debezium",
        },
    ]
    return {
        "live_tuples": 1_203_442,
        "dead_tuples": 23_111,
        "table_bytes": 812_000_000,
        "index_bytes": 51_200_000,
        "last_autovacuum_at": iso(660),
        "oldest_sent_at": iso(29 * 86_400),
        "complete": True,
        "sampled_at": iso(40),
        "snapshots": snapshots,
    } | changes


def status(**changes: Any) -> Mapping[str, Any]:
    """All of it, flowing, with the named parts changed."""
    failures = [
        {"row_id": 88_123, "reason": "unroutable", "error": "unroutable: 312", "failures": 10, "at": iso(180)},
        {"row_id": 87_001, "reason": "invalid", "error": "invalid: header", "failures": 1, "at": iso(172_800)},
    ]
    return {
        "name": "orders-relay-7c9f",
        "version": "0.1.0",
        "started_at": iso(18_000),
        "uptime_seconds": 18_000.0,
        "live": True,
        "not_ready": None,
        "broker": flowing(),
        "database": flowing(latency_seconds=0.0008),
        "backlog": backlog(),
        "in_flight_rows": 7,
        "last_turn_at": iso(0),
        "last_confirm_at": iso(0),
        "history": {"every_seconds": 10.0, "points": points()},
        "table": table(),
        "replicas": [
            {"name": "orders-relay-7c9f", "version": "0.1.0"},
            {"name": "orders-relay-x2k1", "version": "0.1.0"},
        ],
        "failures": failures,
        "config": {"RELAY_DATABASE_URL": "postgresql://relay:***@db.internal:5432/shop", "RELAY_LANES": "2"},
    } | changes
