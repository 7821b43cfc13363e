"""What the figures were taken on: the machine, the versions, and what makes the servers durable."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import cast

import psycopg

from bench.scenario import Sizes
from bench.stage import POSTGRES_SETTINGS, Stage
from relay import __version__

SHOWN = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers", "max_wal_size")

SMALL = "; small sizes (--quick): these figures show that the bench works, and nothing else"


def facts(stage: Stage, sizes: Sizes) -> dict[str, str]:
    """Return them by name, for a person and for JSON."""
    about = cast("dict[str, str]", stage.rabbitmq.api("GET", "/api/overview"))
    with psycopg.connect(stage.postgres.url()) as connection:
        rows = connection.execute(
            "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY (%s)", [list(SHOWN)]
        ).fetchall()
        server = connection.info.parameter_status("server_version") or "unknown"
    shown: dict[str, str] = dict(rows)
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB, load before {load}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "Postgres": f"{server}; " + ", ".join(f"{name}={shown[name]}" for name in SHOWN),
        "RabbitMQ": f"{about['rabbitmq_version']}, Erlang {about['erlang_version']}; durable quorum queue on one node, "
        "messages persistent, its log synced before each confirm (the broker's default)",
        "libraries": ", ".join(f"{name} {version(name)}" for name in ("psycopg", "aiormq", "aio-pika")),
        "relay": f"{__version__}, every setting at its default where nothing else is said",
        "figures": f"medians of {sizes.runs}, with the least and the most" + SMALL * (sizes.rows < Sizes().rows),
        "counted by": f"pg_stat_statements (track={POSTGRES_SETTINGS['pg_stat_statements.track']}, utility commands "
        "included), from the start to the end; CPU from /proc/PID/stat",
    }


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text(errors="replace")
    names = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    return next(names, platform.machine())


def _memory_gib() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
