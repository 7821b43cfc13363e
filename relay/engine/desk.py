"""What a batch works with."""

from dataclasses import dataclass

from relay.engine.air import Air
from relay.engine.ledger import Ledger
from relay.engine.policy import Chance, EnginePolicy
from relay.engine.servers import Servers
from relay.ports import Observer, Publisher, Store


@dataclass(frozen=True, slots=True)
class Desk:
    """One for all batches of an engine."""

    store: Store
    publisher: Publisher
    observer: Observer
    servers: Servers
    ledger: Ledger
    air: Air
    policy: EnginePolicy
    chance: Chance
