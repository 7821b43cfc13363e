"""Settings → what each part needs to know. Settings travel no further than this."""

from relay import __version__
from relay.broker import BrokerConfig, RabbitPublisher
from relay.decide import PollPolicy, RetryPolicy
from relay.engine import EnginePolicy
from relay.envelope import SealPolicy
from relay.observe import Observatory
from relay.outage import OutagePolicy
from relay.settings import Settings
from relay.store import PostgresDoorbell, PostgresStore, StoreConfig
from relay.store.config import OnDb, ignore

SPARE_CONNECTIONS = 1
"""Beside a connection a lane: the backlog sample must not wait for a lane, nor a lane for it."""


def policy_of(settings: Settings) -> EnginePolicy:
    """Return the engine's numbers."""
    return EnginePolicy(
        seal=SealPolicy(exchange=settings.exchange, message_bytes_max=settings.max_message_bytes),
        retry=RetryPolicy(settings.max_failures, settings.retry_base_seconds, settings.retry_max_seconds),
        poll=PollPolicy(settings.poll_min_seconds, settings.poll_max_seconds),
        outage=OutagePolicy(max_s=settings.outage_sleep_seconds),
        lanes=settings.lanes,
        batch_size=settings.batch_size,
        lease_s=settings.lease_seconds,
        rescan_s=settings.rescan_seconds,
        ordered=settings.ordering == "key",
        failed_blocks_key=settings.failed_blocks_key,
    )


def store_of(settings: Settings, on_db: OnDb = ignore) -> PostgresStore:
    """Return the store, not yet opened."""
    return PostgresStore(store_config(settings), on_db)


def store_config(settings: Settings) -> StoreConfig:
    """Return what the store needs to know."""
    return StoreConfig(
        conninfo=settings.database_url,
        schema=settings.schema_,
        table=settings.table,
        batch_bytes=settings.batch_bytes,
        message_bytes_max=settings.max_message_bytes,
        lease_s=settings.lease_seconds,
        pool_size=settings.lanes + SPARE_CONNECTIONS,
        application_name=f"relay/{__version__} {settings.name}",
        backlog_cap=settings.backlog_count_cap,
        ordered=settings.ordering == "key",
        failed_blocks_key=settings.failed_blocks_key,
    )


def doorbell_of(settings: Settings, store: PostgresStore, seen: Observatory) -> PostgresDoorbell:
    """Return the doorbell, without a session yet."""
    return PostgresDoorbell(store_config(settings), store.doorbell, seen.bell, seen.rang)


def publisher_of(settings: Settings) -> RabbitPublisher:
    """Return the publisher, not yet connected."""
    config = BrokerConfig(
        url=settings.amqp_url,
        name=settings.name,
        heartbeat_s=settings.heartbeat_seconds,
        confirm_timeout_s=settings.confirm_timeout_seconds,
    )
    return RabbitPublisher(config)
