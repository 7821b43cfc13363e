"""Memory follows RELAY_BATCH_BYTES and RELAY_LANES, whatever the number and the size of the rows."""

import asyncio
import contextlib
import re
from pathlib import Path

import pytest

from tests.builders import Amqp, Database, eventually
from tests.running import END_S, RelayProcess, relay

MIB = 1 << 20
BATCH_SIZE, BATCH_BYTES, MESSAGE_BYTES, LANES = 1000, 4 * MIB, 2 * MIB, 2
CEILING_MIB = 90 + LANES * (BATCH_SIZE * 2048 + max(3 * BATCH_BYTES, 5 * MESSAGE_BYTES)) / MIB
"""As the README has it."""
ROWS = 150


def peak_mib(process: RelayProcess) -> float:
    """The most memory the process ever had, in MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) / 1024


async def drained(process: RelayProcess) -> float:
    """Wait for its end; the most memory it had until shortly before."""
    end, peak = asyncio.create_task(process.ended(2 * END_S)), 0.0
    while not end.done():
        with contextlib.suppress(FileNotFoundError, AssertionError):  # it is gone, or has no memory any more
            peak = peak_mib(process)
        await asyncio.wait({end}, timeout=0.02)
    assert end.result() == 0
    return peak


@pytest.mark.parametrize(("size", "rows"), [(100, 5000), (4 << 10, 3000), (64 << 10, 400), (1 << 20, 40)])
async def test_a_drain_stays_below_the_ceiling_whatever_the_size_of_its_messages(
    db: Database, amqp: Amqp, size: int, rows: int
) -> None:
    await amqp.exchange("orders")
    await amqp.queue("few", "orders", x_max_length=10)  # the broker's memory is not what is measured
    await db.fetch("ALTER TABLE {table} ALTER payload TYPE bytea USING ''")
    await db.fetch(
        "INSERT INTO {table} (routing_key, payload) "
        "SELECT 'a', decode(repeat(md5(n::text), %s), 'hex') FROM generate_series(1, %s) AS n",
        (size // 16, rows),
    )
    limits = {"BATCH_BYTES": BATCH_BYTES, "MAX_MESSAGE_BYTES": MESSAGE_BYTES, "LANES": LANES, "BATCH_SIZE": BATCH_SIZE}
    async with relay(db, amqp, "--drain", **limits) as process:
        peak = await drained(process)
    assert await db.statuses() == {"sent": rows}
    assert 20 < peak < CEILING_MIB


async def sent(db: Database, rows: int) -> None:
    """Wait until that many rows are sent."""

    async def all_of_them() -> None:
        assert await db.statuses() == {"sent": rows}

    await eventually(all_of_them, 40)


async def test_memory_is_bounded_by_bytes_and_not_by_rows(db: Database, amqp: Amqp) -> None:
    await amqp.queue("all", "orders")
    await db.insert()
    async with relay(db, amqp, BATCH_BYTES=4 * MIB, LANES=2) as process:
        await sent(db, 1)
        before = peak_mib(process)
        await db.fetch(
            "INSERT INTO {table} (routing_key, payload) "
            "SELECT 'large', to_jsonb(repeat(md5(n::text), 32768)) FROM generate_series(1, %s) AS n",
            (ROWS,),
        )
        await sent(db, ROWS + 1)
        grown = peak_mib(process) - before
        ticks = [tick["claimed"] for tick in process.seen("tick")]
    # Of each batch the row, its frames and the transport's buffer may stand at once, on each of two lanes.
    assert grown < 2 * 4 * 4 + 16, f"{grown:.0f} MiB more for {ROWS} MiB in batches of {ticks}"
    assert max(ticks) <= 4
