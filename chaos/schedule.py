"""Which fault comes when: drawn from a seed, and a pure function of it."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

RELAYS = 3
EVERY = "every"
SHOP = "shop"
LEASE_S = 23.0
"""The lease of the relays under test: a stopped one must be stopped for longer."""

WARM_UP_S = 3.0
QUIET_S = 30.0
"""Kept of a run for the rows that the last faults have left."""
CALM_S = 4.0
CALM_AFTER = 10
"""So many faults, then a calm: what one fault hides, the calm shows."""
PAUSE_S = (0.3, 2.0)


class Harm(StrEnum):
    """What the nemesis can do."""

    RELAY_KILL = "relay_kill"
    RELAY_TERM = "relay_term"
    RELAY_PAUSE = "relay_pause"
    BROKER_KILL = "broker_kill"
    BROKER_PAUSE = "broker_pause"
    BROKER_STOP_APP = "broker_stop_app"
    MEMORY_ALARM = "memory_alarm"
    DISK_ALARM = "disk_alarm"
    PERMISSION_REVOKED = "permission_revoked"
    PASSWORD_CHANGED = "password_changed"
    EXCHANGE_DELETED = "exchange_deleted"
    QUEUE_UNBOUND = "queue_unbound"
    QUEUE_FULL = "queue_full"
    AMQP_CUT = "amqp_cut"
    AMQP_RESET = "amqp_reset"
    AMQP_HELD_UP = "amqp_held_up"
    AMQP_HELD_DOWN = "amqp_held_down"
    AMQP_BLACKHOLE = "amqp_blackhole"
    AMQP_SLOW = "amqp_slow"
    POSTGRES_CUT = "postgres_cut"
    POSTGRES_RESET = "postgres_reset"
    POSTGRES_HELD_UP = "postgres_held_up"
    POSTGRES_HELD_DOWN = "postgres_held_down"
    POSTGRES_BLACKHOLE = "postgres_blackhole"
    POSTGRES_SLOW = "postgres_slow"
    BACKENDS_TERMINATED = "backends_terminated"
    POSTGRES_CRASH = "postgres_crash"
    POSTGRES_READ_ONLY = "postgres_read_only"
    OLD_SNAPSHOT = "old_snapshot"


class Aim(StrEnum):
    """Which targets a fault may have."""

    NOTHING = "nothing"
    MORTAL = "mortal"
    """A relay, but not the last one, which is stopped and cut off like the others and never ended: a leak would show
    in it, over the whole run."""
    RELAY = "relay"
    LINK = "link"
    """Of one relay or of every one."""
    LINK_OR_SHOP = "link or shop"


@dataclass(frozen=True, slots=True)
class Trait:
    """How a fault is drawn; times in seconds."""

    holds: str
    """What it breaks: two faults that hold the same thing never overlap."""
    lasts_s: tuple[float, float]
    takes_s: float = 0.0
    """About what making and healing it takes beyond that."""
    aim: Aim = Aim.NOTHING


_REFUSING_S = (1.0, 3.0)
"""Faults in which the broker refuses rows one by one, and each refusal counts: short beside a row's ten attempts."""

TRAITS: Mapping[Harm, Trait] = {
    Harm.RELAY_KILL: Trait("relay", (0.2, 2.0), 2.0, Aim.MORTAL),
    Harm.RELAY_TERM: Trait("relay", (0.2, 1.0), 4.0, Aim.MORTAL),
    Harm.RELAY_PAUSE: Trait("relay", (LEASE_S + 1, LEASE_S + 4), 0.0, Aim.RELAY),
    Harm.BROKER_KILL: Trait("broker", (0.5, 3.0), 9.0),
    Harm.BROKER_PAUSE: Trait("broker", (1.0, 8.0)),
    Harm.BROKER_STOP_APP: Trait("broker", (0.5, 3.0), 7.0),
    Harm.MEMORY_ALARM: Trait("broker", (2.0, 6.0), 4.0),
    Harm.DISK_ALARM: Trait("broker", (2.0, 6.0), 4.0),
    Harm.PERMISSION_REVOKED: Trait("broker", _REFUSING_S, 5.5),
    Harm.PASSWORD_CHANGED: Trait("broker", (2.0, 6.0), 0.5),
    Harm.EXCHANGE_DELETED: Trait("broker", _REFUSING_S, 1.5),
    Harm.QUEUE_UNBOUND: Trait("broker", _REFUSING_S, 0.5),
    Harm.QUEUE_FULL: Trait("broker", _REFUSING_S, 1.0),
    Harm.AMQP_CUT: Trait("amqp", (0.5, 4.0), 0.0, Aim.LINK),
    Harm.AMQP_RESET: Trait("amqp", (0.0, 1.0), 0.0, Aim.LINK),
    Harm.AMQP_HELD_UP: Trait("amqp", (1.0, 9.0), 0.0, Aim.LINK),
    Harm.AMQP_HELD_DOWN: Trait("amqp", (1.0, 9.0), 0.0, Aim.LINK),
    Harm.AMQP_BLACKHOLE: Trait("amqp", (1.0, 9.0), 0.0, Aim.LINK),
    Harm.AMQP_SLOW: Trait("amqp", (2.0, 6.0), 0.0, Aim.LINK),
    Harm.POSTGRES_CUT: Trait("postgres link", (0.5, 4.0), 0.0, Aim.LINK_OR_SHOP),
    Harm.POSTGRES_RESET: Trait("postgres link", (0.0, 1.0), 0.0, Aim.LINK_OR_SHOP),
    Harm.POSTGRES_HELD_UP: Trait("postgres link", (1.0, 9.0), 0.0, Aim.LINK),
    Harm.POSTGRES_HELD_DOWN: Trait("postgres link", (1.0, 9.0), 0.0, Aim.LINK_OR_SHOP),
    Harm.POSTGRES_BLACKHOLE: Trait("postgres link", (1.0, 9.0), 0.0, Aim.LINK),
    Harm.POSTGRES_SLOW: Trait("postgres link", (2.0, 6.0), 0.0, Aim.LINK),
    Harm.BACKENDS_TERMINATED: Trait("postgres", (0.0, 1.0)),
    Harm.POSTGRES_CRASH: Trait("postgres", (0.0, 2.0), 1.5),
    Harm.POSTGRES_READ_ONLY: Trait("postgres", (1.0, 5.0), 0.5),
    Harm.OLD_SNAPSHOT: Trait("snapshot", (8.0, 16.0)),
}


@dataclass(frozen=True, slots=True, order=True)
class Stroke:
    """One fault of a run; times in seconds from its beginning."""

    at_s: float
    harm: Harm
    target: str
    lasts_s: float

    @property
    def free_at_s(self) -> float:
        """When it is over and healed, as far as can be told before."""
        return self.at_s + self.lasts_s + TRAITS[self.harm].takes_s


def names(relays: int) -> tuple[str, ...]:
    """Name so many relays."""
    return tuple(str(number) for number in range(1, relays + 1))


def targets(aim: Aim, relays: Sequence[str]) -> tuple[str, ...]:
    """Return what may be struck; one relay alone is mortal."""
    everyone = tuple(relays)
    return {
        Aim.NOTHING: ("",),
        Aim.MORTAL: everyone[:-1] or everyone,
        Aim.RELAY: everyone,
        Aim.LINK: (*everyone, EVERY),
        Aim.LINK_OR_SHOP: (*everyone, EVERY, SHOP, SHOP),
    }[aim]


def collide(one: Harm, other: Harm) -> bool:
    """Return whether two faults break the same thing, and must therefore never overlap."""
    return TRAITS[one].holds == TRAITS[other].holds


def schedule(seed: int, minutes: float, relays: int = RELAYS) -> tuple[Stroke, ...]:
    """Draw the faults of a run of that length: up to two at once, a calm after every ten, and quiet at the end.

    They are dealt from a shuffled deck of all faults, so that none comes a second time before all that fit have come.
    """
    chance = random.Random(seed)
    ends_s = minutes * 60 - QUIET_S
    free_s = [WARM_UP_S, WARM_UP_S + chance.uniform(*PAUSE_S)]
    drawn: list[Stroke] = []
    deck: list[Harm] = []
    while True:
        hand = free_s.index(min(free_s))
        beside = next((stroke for stroke in reversed(drawn) if stroke.free_at_s > free_s[hand]), None)
        deck = deck or chance.sample(list(Harm), len(Harm))
        stroke = _deal(chance, deck, names(relays), free_s[hand], beside=beside, ends_s=ends_s)
        if stroke is None:
            if free_s[hand] >= ends_s or beside is None:
                return tuple(drawn)
            free_s[hand] = beside.free_at_s + chance.uniform(*PAUSE_S)
            continue
        drawn.append(stroke)
        free_s[hand] = stroke.free_at_s + chance.uniform(*PAUSE_S)
        if len(drawn) % CALM_AFTER == 0:
            free_s = [max(each.free_at_s for each in drawn[-CALM_AFTER:]) + CALM_S] * 2


def _deal(
    chance: random.Random, deck: list[Harm], relays: Sequence[str], at_s: float, *, beside: Stroke | None, ends_s: float
) -> Stroke | None:
    """Take from the deck the first fault that may begin now and will be over in time; None when there is none."""
    for harm in deck:
        trait = TRAITS[harm]
        target = chance.choice(targets(trait.aim, relays))
        stroke = Stroke(round(at_s, 2), harm, target, round(chance.uniform(*trait.lasts_s), 2))
        if stroke.free_at_s <= ends_s and not (beside and collide(harm, beside.harm)):
            deck.remove(harm)
            return stroke
    return None
