"""Memory follows RELAY_BATCH_BYTES, not the number of rows."""

import re
from pathlib import Path

from tests.builders import Amqp, Database, eventually
from tests.running import RelayProcess, relay

MIB = 1 << 20
ROWS = 150


def peak_mib(process: RelayProcess) -> float:
    """The most memory the process ever had, in MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) / 1024


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
