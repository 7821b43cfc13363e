"""What the checker may put down to each fault."""

import pytest

from chaos.harms import EFFECTS, repeats_max
from chaos.replicas import IN_FLIGHT_MAX
from chaos.schedule import EVERY, SHOP, TRAITS, Harm

RELAYS = 4
ALL = RELAYS * IN_FLIGHT_MAX


@pytest.mark.parametrize(
    ("harm", "target", "most"),
    [
        (Harm.RELAY_KILL, "1", IN_FLIGHT_MAX),
        (Harm.RELAY_PAUSE, "3", IN_FLIGHT_MAX),
        (Harm.BROKER_KILL, "", ALL),
        (Harm.AMQP_RESET, "2", IN_FLIGHT_MAX),
        (Harm.AMQP_RESET, EVERY, ALL),
        (Harm.POSTGRES_RESET, SHOP, 0),
        (Harm.RELAY_TERM, "1", 0),
        (Harm.QUEUE_FULL, "", 0),
        (Harm.QUEUE_UNBOUND, "", 0),
        (Harm.OLD_SNAPSHOT, "", 0),
    ],
)
def test_a_fault_explains_no_more_copies_than_rows_were_in_flight_where_it_struck(
    harm: Harm, target: str, most: int
) -> None:
    assert repeats_max(harm, target, RELAYS) == most


def test_only_what_makes_the_broker_refuse_a_row_explains_a_refusal() -> None:
    refusing = {harm for harm, effect in EFFECTS.items() if effect.refusals}
    assert refusing == {Harm.PERMISSION_REVOKED, Harm.EXCHANGE_DELETED, Harm.QUEUE_UNBOUND, Harm.QUEUE_FULL}
    assert all(TRAITS[harm].lasts_s[1] + EFFECTS[harm].believed_s <= 8 for harm in refusing), (
        "shorter than ten attempts"
    )
