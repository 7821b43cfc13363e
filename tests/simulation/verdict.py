"""What must hold when a storm is over."""

from collections.abc import Iterator

from relay.decide import KILLER_CLAIMS
from relay.model import Refusal
from tests.doubles.table import Stored
from tests.simulation.broker import Fate
from tests.simulation.world import World

REASONS = {
    Fate.UNROUTABLE: Refusal.UNROUTABLE,
    Fate.REJECTED: Refusal.REJECTED,
    Fate.NO_EXCHANGE: Refusal.NO_EXCHANGE,
    Fate.CLOSES_CHANNEL: Refusal.BLAMED,
    Fate.CLOSES_CONNECTION: Refusal.BLAMED,
    Fate.KILLS: Refusal.CRASH_LOOP,
}


def verdict(world: World) -> list[str]:
    """Return every promise that was broken."""
    return [*world.witness.wrong, *_whole(world), *_rows(world), *_repeated(world), *_order(world), *_sums(world)]


def _whole(world: World) -> Iterator[str]:
    """Every committed row is there, and no message of another."""
    rows, arrived = world.table.rows.keys(), {row_id for row_id, times in world.broker.queue.items() if times}
    if phantoms := arrived - rows:
        yield f"published, and never committed: {sorted(phantoms)}"
    if missing := world.committed - rows:
        yield f"rows vanished: {sorted(missing)}"
    if held := [row_id for row_id, stored in _freed(world) if stored.claimed_until is not None]:
        yield f"still leased: {held}"


def _freed(world: World) -> list[tuple[int, Stored]]:
    """All rows but those that a failed one of their key stops; of these a dead relay's lease may be left."""
    return [each for each in world.table.rows.items() if each[1].status != "pending" or not world.stopped(each[0])]


def _rows(world: World) -> Iterator[str]:
    for row_id, stored in _freed(world):
        fate, struck = world.broker.bad.get(row_id), world.broker.struck[row_id]
        confirmed = any(write.state == "confirmed" for write in world.witness.writes[row_id])
        match stored.status:
            case "sent":
                if not world.broker.queue[row_id]:
                    yield f"row {row_id} is lost"
                if not confirmed:
                    yield f"row {row_id} is sent, and no relay heard a confirm"
            case "failed" if not (stored.reason == Refusal.CRASH_LOOP or (fate and stored.reason == REASONS[fate])):
                yield f"row {row_id} failed for {stored.reason}, its fate was {fate}"
            case "failed" if stored.reason == Refusal.CRASH_LOOP:
                if fate is not Fate.KILLS and sum(world.witness.ran_out[row_id]) < KILLER_CLAIMS:
                    yield f"row {row_id} is called a killer, and relays died with it {world.witness.ran_out[row_id]}"
            case "pending":
                yield f"row {row_id} was left"
            case _:
                pass
        if stored.failures > struck + (stored.reason == Refusal.CRASH_LOOP):
            yield f"row {row_id} was charged {stored.failures} times, and refused {struck} times"
        yield from _claims(world, row_id, stored)


def _claims(world: World, row_id: int, stored: Stored) -> Iterator[str]:
    """A claim ends in a mark that counts, is given back, or runs out."""
    ran_out = len(world.witness.ran_out[row_id])
    rest = stored.claims - stored.failures - ran_out
    if rest not in ({0, 1} if stored.status == "sent" and ran_out else {int(stored.status == "sent")}):
        yield f"row {row_id} ({stored.status}): {stored.claims} claims, {stored.failures} failures, {ran_out} ran out"


def _repeated(world: World) -> Iterator[str]:
    """A message is repeated only when nobody knew of it, and never without a fault."""
    again = {row_id: times - 1 for row_id, times in world.broker.queue.items() if times > 1}
    if again and world.weather.mild:
        yield f"repeated without a fault: {again}"
    for row_id, extra in again.items():
        if extra >= world.witness.excuses(row_id):
            yield f"row {row_id} was repeated {extra} times"


def _order(world: World) -> Iterator[str]:
    """The first messages of a key came in the order of their rows, but for rows that were given up."""
    if not world.ordered:
        return
    last: dict[str, int] = {}
    for row_id in world.broker.queue:  # in the order in which each came first
        stored = world.table.rows.get(row_id)
        if stored is None or stored.row.key is None or stored.status == "failed":
            continue
        before = last.setdefault(stored.row.key, row_id)
        if before > row_id:
            yield f"row {row_id} came after row {before} of its key {stored.row.key}"
        last[stored.row.key] = row_id


def _sums(world: World) -> Iterator[str]:
    """What each relay told adds up, and agrees with what it was told."""
    for relay in world.past:
        most = world.policy.lanes * world.policy.batch_size
        if relay.observer.in_hand_max > most:
            yield f"{relay.name} had {relay.observer.in_hand_max} rows in hand, and may have {most}"
        if relay.life.killed or relay.hurried:
            continue
        heard = world.witness.confirmed_to(relay.life)
        if relay.observer.total("confirmed") != heard:
            yield f"{relay.name} counted {relay.observer.total('confirmed')} confirms of {heard}"
        if relay.observer.in_hand or relay.publisher.in_flight:
            yield f"{relay.name} ended with {relay.observer.in_hand} rows in hand"
