"""What became of transactions that nobody answered for, or that a crash may have erased: the business table tells.

It is asked about the orders, which nobody but the producers writes, and never about the outbox. What Postgres says of a
transaction id (pg_xact_status) would not do: after a crash the ids of erased transactions are given out anew.
"""

import json
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace

from chaos.history import FILES, Attempt, Fate
from chaos.producer import LAZY
from chaos.stage import Stage

ORDERS = "SELECT message_id::text FROM shop.orders"


async def resolve(stage: Stage) -> int:
    """Write down anew the attempts whose fate the order tells better; how many of them a crash has erased."""
    lazy = frozenset((stage.folder / LAZY).read_text().split())
    kept = frozenset(message_id for (message_id,) in await stage.ask(ORDERS))
    with (stage.folder / FILES[Attempt]).open(encoding="utf-8") as lines:
        told = [*better(map(_attempt, lines), kept, lazy)]
    stage.log.add(*told)
    return sum(attempt.message_id in lazy for attempt in told)


def better(attempts: Iterable[Attempt], kept: AbstractSet[str], lazy: AbstractSet[str]) -> Iterator[Attempt]:
    """Give the attempts whose fate the orders tell better; `lazy` ones did not wait for the disk.

    An unknown one without its order did not happen. An answered one without its order was erased by a crash, which is
    allowed only where nobody waited for the disk. Both are as good as rolled back: nobody may hear of them.
    """
    for attempt in attempts:
        erasable = attempt.fate is Fate.UNKNOWN or attempt.message_id in lazy
        if erasable and attempt.fate is not Fate.ROLLED_BACK and attempt.message_id not in kept:
            yield replace(attempt, fate=Fate.ROLLED_BACK)


def _attempt(line: str) -> Attempt:
    fields = json.loads(line)
    return Attempt(**fields | {"fate": Fate(fields["fate"])})
