"""`python -m bench.doorbell`: what a doorbell costs producers, in inserts a second, beside a plain NOTIFY and nothing.

Each way has a database of its own on one server that syncs to disk; pgbench inserts a row a transaction. The ways take
turns, and of each the median counts. `held` is the doorbell at its worst: somebody holds it all the time and hears
every ring. A relay lets go of it when rows come fast; that is `free`.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from bench.meter import Broken
from bench.stage import POSTGRES_SETTINGS
from relay import migrate
from services import find
from services.postgres import PostgresServer

BARE, NOTIFY, HELD, FREE = WAYS = ("no trigger", "plain NOTIFY", "doorbell held", "doorbell free")
CLIENTS = (1, 16)
RUNS = 3
SECONDS = 5
INSERT = "INSERT INTO outbox.message (routing_key, payload) VALUES ('order.created', '{\"n\": 1}');\n"
PLAIN: LiteralString = """
CREATE FUNCTION outbox.tell() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_notify('plain', ''); RETURN NULL; END $$;
CREATE TRIGGER tell AFTER INSERT ON outbox.message FOR EACH STATEMENT EXECUTE FUNCTION outbox.tell()
"""
LOCK: LiteralString = "SELECT pg_advisory_lock(1650814060, 'outbox.message'::regclass::oid::integer)"
TABLE: LiteralString = "SELECT 'outbox.message'::regclass::oid::bigint"


@dataclass(frozen=True, slots=True)
class Rate:
    """One run of pgbench."""

    way: str
    clients: int
    inserts_s: float


def report(rates: Sequence[Rate]) -> str:
    """Return the medians as a table in Markdown: a line a way, and how much of the bare rate is left."""
    clients = sorted({rate.clients for rate in rates})
    head = "".join(f" {count} client{'' if count == 1 else 's'} | of bare |" for count in clients)
    lines = [f"| inserts a second |{head}", f"| --- |{' --- | --- |' * len(clients)}"]
    for way in WAYS:
        cells = [(median(rates, way, count), median(rates, BARE, count)) for count in clients]
        lines.append(f"| {way} |" + "".join(f" {rate:,.0f} | {rate / bare:.0%} |" for rate, bare in cells))
    return "\n".join(lines)


def median(rates: Sequence[Rate], way: str, clients: int) -> float:
    """Return the middle of the runs of one way. Raises statistics.StatisticsError when there was none."""
    return statistics.median(rate.inserts_s for rate in rates if (rate.way, rate.clients) == (way, clients))


def as_document(rates: Sequence[Rate]) -> Mapping[str, Any]:
    """Return every run and the medians, for JSON."""
    medians = {
        way: {str(count): median(rates, way, count) for count in {rate.clients for rate in rates}} for way in WAYS
    }
    return {"inserts_per_second": medians, "runs": [asdict(rate) for rate in rates]}


def measure(server: PostgresServer, *, runs: int = RUNS, seconds: int = SECONDS) -> Iterator[Rate]:
    """Let each way have its turn, run after run."""
    for place, way in enumerate(WAYS):
        server.create_database(f"way_{place}")
        url = server.url(f"way_{place}")
        migrate.up(url, only="doorbell" if way in {HELD, FREE} else None)
        if way == NOTIFY:
            with psycopg.connect(url) as connection:
                connection.execute(PLAIN)
    for _ in range(runs):
        for clients in CLIENTS:
            for place, way in enumerate(WAYS):
                url = server.url(f"way_{place}")
                with listening(url, held=way == HELD) if way in {NOTIFY, HELD} else nullcontext():
                    yield Rate(way, clients, pgbench(url, clients, seconds))


@contextmanager
def listening(url: str, *, held: bool) -> Iterator[None]:
    """Hear every notification for as long as the block runs."""
    with psycopg.connect(url, autocommit=True) as connection:
        ((table_id,),) = connection.execute(TABLE).fetchall()
        if held:
            connection.execute(LOCK)
        channel = f"relay_doorbell_{table_id}" if held else "plain"
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        done = threading.Event()
        hearing = threading.Thread(target=_hear, args=(connection, done.is_set))
        hearing.start()
        try:
            yield
        finally:
            done.set()
            hearing.join()


def _hear(connection: psycopg.Connection, done: Callable[[], bool]) -> None:
    while not done():
        for _ in connection.notifies(timeout=0.2, stop_after=1000):
            pass


def pgbench(url: str, clients: int, seconds: int) -> float:
    """Return the transactions a second. Raises Broken."""
    program = shutil.which("pgbench")
    if program is None:
        raise Broken("no pgbench: on Debian and Ubuntu `apt-get install postgresql`")
    fixed = ("--no-vacuum", "--jobs=2", "--file=-")
    argv = [program, *fixed, f"--client={clients}", f"--time={seconds}", url]
    done = subprocess.run(argv, input=INSERT, capture_output=True, text=True, check=False)
    found = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        raise Broken(f"pgbench failed: {done.stderr[-500:]}")
    return float(found[1])


def main() -> None:
    """Measure and print; write JSON when asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.doorbell", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each figure ({RUNS})")
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"of each run ({SECONDS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to a file")
    given = parser.parse_args()
    server = find.own_postgres(durable=True, settings=POSTGRES_SETTINGS)
    try:
        rates = []
        for rate in measure(server, runs=given.runs, seconds=given.seconds):
            print(f"{rate.way:<14} {rate.clients:>2} clients {rate.inserts_s:>9,.0f}/s", flush=True)
            rates.append(rate)
    finally:
        server.close()
    print(f"\n{report(rates)}")
    if given.json is not None:
        given.json.write_text(json.dumps(as_document(rates), indent=2) + "\n")


if __name__ == "__main__":
    main()
