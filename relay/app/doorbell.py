"""`relay doorbell status`: what the database says of the doorbell."""

from dataclasses import asdict, dataclass
from typing import Any

from relay.app.wire import command_config, command_store_of
from relay.model import Doorbell
from relay.settings import Settings
from relay.store import pooled


@dataclass(frozen=True, slots=True)
class Bell:
    """The doorbell, and whether it can be heard from here."""

    doorbell: Doorbell
    pooled: bool
    """A pooler stands between this login and the database."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        shown = asdict(self.doorbell) | {"pooled": self.pooled}
        del shown["table_id"]
        return shown


async def doorbell(settings: Settings) -> Bell:
    """Look for the doorbell, who holds it, and a pooler. Raises StoreUnavailable."""
    # On a connection of its own, which tells at once why there is none.
    between = await pooled(command_config(settings))
    store = command_store_of(settings)
    await store.open()
    try:
        return Bell(await store.doorbell(), between)
    finally:
        await store.close()
