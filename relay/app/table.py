"""What an operator does to the table: `relay cleanup` and `relay retry`."""

from datetime import timedelta

from relay.app.wire import command_store_of
from relay.settings import Settings


async def cleanup(settings: Settings, *, older_than: timedelta, failed: bool, batch: int, dry_run: bool) -> int:
    """Delete old sent (or failed) rows, a batch a transaction; return how many. Raises StoreUnavailable."""
    store = command_store_of(settings)
    await store.open()
    try:
        await store.facts()  # on a connection of its own, which tells at once why there is none
        return await store.cleanup(older_than, failed=failed, batch=batch, dry_run=dry_run)
    finally:
        await store.close()


async def requeue(settings: Settings, *, limit: int | None, batch: int, dry_run: bool) -> int:
    """Make failed rows pending again, oldest first; return how many. Raises StoreUnavailable."""
    store = command_store_of(settings)
    await store.open()
    try:
        await store.facts()
        return await store.requeue(limit=limit, batch=batch, dry_run=dry_run)
    finally:
        await store.close()
