"""How the relays and the table fare over a long run: a sample every ten seconds, into `soak.jsonl`."""

import asyncio
import contextlib
import json
import math
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import aiohttp
import psycopg

from chaos.replicas import Replica
from chaos.slopes import Point, Slope, p99, slope
from chaos.stage import Stage
from demo.vitals import samples

EVERY_S = 10.0
ANSWER_S = 2.0
FILE = "soak.jsonl"
TABLE = "table"
BUCKET = re.compile(r'relay_db_duration_seconds_bucket\{le="([^"]+)",op="claim"\}')
TASKS = "relay_asyncio_tasks"
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
SIZES = """
SELECT n_dead_tup::float8, pg_total_relation_size(relid) / 1048576.0::float8
FROM pg_stat_user_tables WHERE schemaname = 'outbox' AND relname = 'message'
"""


class Soak:
    """Samples until cancelled. Each process is a series of its own."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._claims: dict[int, Mapping[float, float]] = {}
        """What each process had counted at the sample before."""

    async def run(self) -> None:
        """Sample again and again; who does not answer is left out."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await asyncio.gather(self._table(), *(self._relay(session, each) for each in self._stage.replicas))
                await asyncio.sleep(EVERY_S)

    async def _table(self) -> None:
        with contextlib.suppress(psycopg.Error):
            ((dead, mib),) = await self._stage.ask(SIZES)
            self._write(TABLE, {"dead_rows": dead, "table_mib": mib})

    async def _relay(self, session: aiohttp.ClientSession, replica: Replica) -> None:
        child = replica.child
        if child is None or not child.running:
            return
        with contextlib.suppress(OSError, aiohttp.ClientError, TimeoutError):
            figures = _process(child.pid)
            async with session.get(f"http://127.0.0.1:{replica.port}/metrics") as answer:
                told = samples(await answer.text())
            figures["asyncio_tasks"] = told[TASKS]
            buckets = {float(found[1]): count for name, count in told.items() if (found := BUCKET.fullmatch(name))}
            slowest = p99(self._claims.get(child.pid, {}), buckets)
            self._claims[child.pid] = buckets
            if slowest is not None and not math.isinf(slowest):
                figures["claim_p99_ms"] = slowest * 1000
            self._write(f"relay {replica.name}, process {child.pid}", figures)

    def _write(self, series: str, figures: Mapping[str, float]) -> None:
        with (self._stage.folder / FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at": round(time.time(), 3), "series": series, **figures}) + "\n")


def _process(pid: int) -> dict[str, float]:
    """Return what the kernel knows of a process. Raises OSError when it is gone."""
    proc = Path(f"/proc/{pid}")
    pages = int((proc / "statm").read_text().split()[1])
    return {"rss_mib": pages * PAGE_MIB, "open_files": float(sum(1 for _ in (proc / "fd").iterdir()))}


def slopes(folder: Path) -> Sequence[Slope]:
    """Lay a line through every figure of every series that lasted long enough."""
    points: defaultdict[tuple[str, str], list[Point]] = defaultdict(list)
    for at, series, figures in _read(folder / FILE):
        for figure, value in figures.items():
            points[series, figure].append((at, value))
    found = (slope(series, figure, each) for (series, figure), each in points.items())
    return [each for each in found if each is not None]


def _read(path: Path) -> Iterator[tuple[float, str, Mapping[str, float]]]:
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                figures = json.loads(line)
                yield figures.pop("at"), figures.pop("series"), figures
