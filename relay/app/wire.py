"""Settings → what each part needs to know. Settings travel no further than this."""

from dataclasses import replace

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
"""Beside a connection a lane: the samples must not wait for a lane, nor a lane for them."""
APPLICATION_BYTES_MAX = 63
"""Postgres would cut off the end of a longer name."""


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
    """Return the store of a relay, not yet opened."""
    return PostgresStore(store_config(settings), on_db)


def command_store_of(settings: Settings) -> PostgresStore:
    """Return the store of a command, not yet opened."""
    return PostgresStore(command_config(settings))


def command_config(settings: Settings) -> StoreConfig:
    """Return what the store of a command needs to know: it looks once and goes, and must not be taken for a relay."""
    return replace(store_config(settings), application_name=application("relay-command", settings.name))


def application(kind: str, name: str) -> str:
    """Name a connection to Postgres; of a long name the end is kept, where the replicas of a deployment differ."""
    head = f"{kind}/{__version__} "
    spelled, room = name.encode(), APPLICATION_BYTES_MAX - len(head)
    tail = name if len(spelled) <= room else "~" + spelled[1 - room :].decode(errors="ignore")
    return head + tail


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
        application_name=application("relay", settings.name),
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
