"""How each fault is made, how it heals, and what may be put down to it.

Each is a context manager that heals whatever happens.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from chaos.harms import broker, database, links, relays
from chaos.harms.persist import Hurt
from chaos.replicas import IN_FLIGHT_MAX
from chaos.schedule import EVERY, SHOP, Harm
from relay.broker.exchanges import FORBIDDEN_TTL_S, MISSING_TTL_S
from relay.model import Refusal

NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Effect:
    """What may be put down to a fault."""

    hurt: Hurt
    repeats: str = ""
    """Whose rows in flight it may make arrive again: EVERY relay's, NOBODY's; empty: those of the relays it strikes."""
    refusals: tuple[Refusal, ...] = ()
    """What the broker may refuse rows for, without being an outage."""
    believed_s: float = 0.0
    """How long relays go on believing a refusal when it is healed."""


EFFECTS: Mapping[Harm, Effect] = {
    Harm.RELAY_KILL: Effect(relays.relay_kill),
    Harm.RELAY_TERM: Effect(relays.relay_term, repeats=NOBODY),
    Harm.RELAY_PAUSE: Effect(relays.relay_pause),
    Harm.BROKER_KILL: Effect(broker.broker_kill, repeats=EVERY),
    Harm.BROKER_PAUSE: Effect(broker.broker_pause, repeats=EVERY),
    Harm.BROKER_STOP_APP: Effect(broker.ctl(("stop_app",), ("start_app",)), repeats=EVERY),
    Harm.MEMORY_ALARM: Effect(
        broker.ctl(("set_vm_memory_high_watermark", "0.00001"), ("set_vm_memory_high_watermark", "0.4")),
        repeats=EVERY,
    ),
    Harm.DISK_ALARM: Effect(
        broker.ctl(("set_disk_free_limit", broker.NO_DISK), ("set_disk_free_limit", broker.SOME_DISK)),
        repeats=EVERY,
    ),
    Harm.PERMISSION_REVOKED: Effect(
        broker.permission_revoked,
        repeats=EVERY,
        refusals=(Refusal.FORBIDDEN, Refusal.BLAMED),
        believed_s=FORBIDDEN_TTL_S,
    ),
    Harm.PASSWORD_CHANGED: Effect(broker.password_changed, repeats=EVERY),
    Harm.EXCHANGE_DELETED: Effect(
        broker.exchange_deleted,
        repeats=EVERY,
        refusals=(Refusal.NO_EXCHANGE, Refusal.UNROUTABLE),
        believed_s=MISSING_TTL_S,
    ),
    Harm.QUEUE_UNBOUND: Effect(broker.queue_unbound, repeats=NOBODY, refusals=(Refusal.UNROUTABLE,)),
    Harm.QUEUE_FULL: Effect(broker.queue_full, repeats=NOBODY, refusals=(Refusal.REJECTED, Refusal.UNROUTABLE)),
    Harm.AMQP_CUT: Effect(links.link(links.amqp, links.cut)),
    Harm.AMQP_RESET: Effect(links.link(links.amqp, links.reset_once)),
    Harm.AMQP_HELD_UP: Effect(links.link(links.amqp, links.held_up)),
    Harm.AMQP_HELD_DOWN: Effect(links.link(links.amqp, links.held_down)),
    Harm.AMQP_BLACKHOLE: Effect(links.link(links.amqp, links.blackhole)),
    Harm.AMQP_SLOW: Effect(links.link(links.amqp, links.slow)),
    Harm.POSTGRES_CUT: Effect(links.link(links.postgres, links.cut)),
    Harm.POSTGRES_RESET: Effect(links.link(links.postgres, links.reset_once)),
    Harm.POSTGRES_HELD_UP: Effect(links.link(links.postgres, links.held_up)),
    Harm.POSTGRES_HELD_DOWN: Effect(links.link(links.postgres, links.held_down)),
    Harm.POSTGRES_BLACKHOLE: Effect(links.link(links.postgres, links.blackhole)),
    Harm.POSTGRES_SLOW: Effect(links.link(links.postgres, links.slow)),
    Harm.BACKENDS_TERMINATED: Effect(database.backends_terminated, repeats=EVERY),
    Harm.POSTGRES_CRASH: Effect(database.postgres_crash, repeats=EVERY),
    Harm.POSTGRES_READ_ONLY: Effect(database.postgres_read_only, repeats=EVERY),
    Harm.OLD_SNAPSHOT: Effect(database.old_snapshot, repeats=NOBODY),
}


def repeats_max(harm: Harm, target: str, relays: int) -> int:
    """Return how many rows it may make arrive once more: those in flight in the relays it strikes."""
    struck = {EVERY: relays, SHOP: 0, NOBODY: 0}.get(EFFECTS[harm].repeats or target, 1)
    return struck * IN_FLIGHT_MAX
