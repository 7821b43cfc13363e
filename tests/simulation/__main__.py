"""`python -m tests.simulation --seeds 20000 --from 0`: live through many worlds; exit 1 when a promise was broken."""

import argparse
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

from tests.simulation import Broken, live

BLOCK = 50
"""Seeds a process is given at once."""
SHOWN = 10


def block(seeds: range) -> tuple[Counter[str], list[str]]:
    """Live through some worlds; what happened in them, and what was wrong."""
    happened: Counter[str] = Counter()
    wrong: list[str] = []
    for seed in seeds:
        try:
            happened += live(seed).witness.happened
        except Broken as error:
            wrong.append(str(error))
    return happened, wrong


def main() -> int:
    """Run the seeds on every core and say what came of them."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many worlds (default: %(default)s)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed (default: %(default)s)")
    given = parser.parse_args()
    last = given.first + given.seeds
    blocks = [range(first, min(first + BLOCK, last)) for first in range(given.first, last, BLOCK)]
    began, happened, wrong = time.monotonic(), Counter[str](), list[str]()
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(blocks))) as pool:
        for more, bad in pool.map(block, blocks):
            happened += more
            wrong += bad
    minutes = (time.monotonic() - began) / 60
    for name, times in sorted(happened.items()):
        print(f"{times:>10,}  {name}")
    for each in islice(wrong, SHOWN):
        print(f"\n{each}")
    pace = f"{given.seeds / minutes:,.0f} a minute"
    print(f"\n{given.seeds:,} seeds from {given.first}, {pace}: {len(wrong)} in which a promise was broken")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
