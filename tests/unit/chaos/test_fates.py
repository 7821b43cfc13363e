"""What became of a transaction is told by its order, and only where the answer to COMMIT leaves it open."""

import pytest

from chaos.fates import better
from chaos.history import Attempt, Fate

LAZY = frozenset({"lazy"})


def attempt(message_id: str, fate: Fate) -> Attempt:
    return Attempt(message_id, "body", "chaos", "order.placed", fate, 1.0)


@pytest.mark.parametrize(
    ("message_id", "fate", "kept", "told"),
    [
        ("m", Fate.UNKNOWN, False, [Fate.ROLLED_BACK]),
        ("m", Fate.UNKNOWN, True, []),
        ("lazy", Fate.COMMITTED, False, [Fate.ROLLED_BACK]),
        ("lazy", Fate.COMMITTED, True, []),
        ("m", Fate.COMMITTED, False, []),
        ("m", Fate.ROLLED_BACK, False, []),
    ],
    ids=[
        "unanswered and not there: it did not happen",
        "unanswered and there: the table of messages must have it too",
        "answered without waiting for the disk and not there: a crash erased it",
        "answered without waiting and there",
        "answered on disk and not there: it is lost, and stays committed for the checker to find",
        "rolled back",
    ],
)
def test_the_order_tells(message_id: str, fate: Fate, kept: bool, told: list[Fate]) -> None:  # noqa: FBT001
    found = better([attempt(message_id, fate)], frozenset({message_id} if kept else ()), LAZY)
    assert [each.fate for each in found] == told
