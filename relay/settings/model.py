"""Every setting: its name, type, bounds, default and one sentence. The README's table is made from here."""

import socket
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, JsonValue
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from relay.settings.secret import Secret

DEFAULT_EXCHANGE = "amq.default"
"""How a person names the exchange whose real name is the empty string."""
SHORT_STRING_BYTES = 255
IDENTIFIER_BYTES = 63
"""Postgres cuts longer names, and would then find another table or none."""


def _exchange(value: str) -> str:
    if not value:
        raise ValueError(f"is empty; write {DEFAULT_EXCHANGE} for the default exchange")
    if len(value.encode()) > SHORT_STRING_BYTES:
        raise ValueError(f"is longer than {SHORT_STRING_BYTES} bytes")
    return "" if value == DEFAULT_EXCHANGE else value


def _identifier(value: str) -> str:
    if not 1 <= len(value.encode()) <= IDENTIFIER_BYTES:
        raise ValueError(f"is empty or longer than {IDENTIFIER_BYTES} bytes")
    return value


def _name(value: str) -> str:
    if not value.isprintable() or not 1 <= len(value.encode()) <= SHORT_STRING_BYTES:
        raise ValueError(f"is empty, longer than {SHORT_STRING_BYTES} bytes, or has control characters")
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _allowed(text: str) -> dict[str, JsonValue]:
    """Say in words what a setting takes, where its bounds do not say it."""
    return {"allowed": text}


Seconds = Annotated[float, Field(allow_inf_nan=False)]
Identifier = Annotated[str, AfterValidator(_identifier), Field(json_schema_extra=_allowed("a name of 1 to 63 bytes"))]


class Settings(BaseSettings):
    """The environment, checked whole; made by `relay.settings.load`."""

    model_config = SettingsConfigDict(env_prefix="RELAY_", frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: InstanceOf[Secret] = Field(
        description="Where the outbox table is, as a libpq URL.",
        json_schema_extra=_allowed("postgresql://user:password@host:port/database?…"),
    )
    amqp_url: InstanceOf[Secret] = Field(
        description="Where RabbitMQ is; the nodes of a cluster are host:port,host:port. "
        "With amqps:// also cafile, capath, certfile, keyfile, no_verify_ssl.",
        json_schema_extra=_allowed("amqp://user:password@host:port/vhost or amqps://…"),
    )
    exchange: Annotated[str, AfterValidator(_exchange)] = Field(
        description="Exchange of the rows that name none; `amq.default` is the default exchange.",
        json_schema_extra=_allowed("an exchange's name of 1 to 255 bytes"),
    )
    schema_: Identifier = Field("outbox", description="Schema of the outbox table.")
    table: Identifier = Field("message", description="Name of the outbox table.")
    batch_size: int = Field(500, ge=1, le=10_000, description="Rows one claim takes at most.")
    batch_bytes: int = Field(
        8_388_608,
        ge=1024,
        le=1_073_741_824,
        description="Payload bytes one claim takes at most; a single larger message is taken alone.",
    )
    max_message_bytes: int = Field(
        16_777_216,
        ge=1,
        le=536_870_912,
        description="A row with a larger payload is failed unread; keep it below the broker's max_message_size.",
    )
    lanes: int = Field(2, ge=1, le=16, description="Batches in flight at once; lanes x batch size rows at most.")
    lease_seconds: Seconds = Field(60, ge=5, le=3600, description="How long claimed rows belong to this relay.")
    confirm_timeout_seconds: Seconds = Field(
        30, ge=1, le=1800, description="Longest wait for a publisher confirm before the connection is given up."
    )
    max_failures: int = Field(10, ge=1, le=1000, description="Refusals after which a row is marked failed.")
    retry_base_seconds: Seconds = Field(1, ge=0.01, le=3600, description="Ceiling of a refused row's first wait.")
    retry_max_seconds: Seconds = Field(300, ge=0.01, le=86_400, description="Ceiling of a refused row's longest wait.")
    outage_sleep_seconds: Seconds = Field(
        30, ge=1, le=3600, description="Longest sleep between two probes of a server that is gone."
    )
    poll_min_seconds: Seconds = Field(
        0.02, ge=0.001, le=60, description="From one claim that found rows to the next; half of it at least is rest."
    )
    poll_max_seconds: Seconds = Field(0.5, ge=0.001, le=60, description="Longest rest of an idle relay.")
    rescan_seconds: Seconds = Field(
        5, ge=0.1, le=3600, description="Time between two looks at the whole pending index, for late commits."
    )
    ordering: Annotated[Literal["none", "key"], BeforeValidator(_lower)] = Field(
        "none",
        description="Order of delivery: `key` delivers rows of one `key` in order of id; it needs "
        "`relay migrate up ordering`, and the same setting on every replica.",
    )
    failed_blocks_key: bool = Field(
        default=False,
        description="With RELAY_ORDERING=key: a failed row stops its key until it is requeued or deleted.",
        json_schema_extra=_allowed("true or false"),
    )
    backlog_sample_seconds: Seconds = Field(
        10, ge=1, le=3600, description="Time between two samples of the backlog for the metrics."
    )
    backlog_count_cap: int = Field(
        10_000, ge=100, le=100_000_000, description="The backlog is counted up to this; beyond it is “at least”."
    )
    health_sample_seconds: Seconds = Field(
        60, ge=1, le=3600, description="Time between two samples of the table's health: sizes, old snapshots, replicas."
    )
    shutdown_grace_seconds: Seconds = Field(
        25, ge=1, le=3600, description="Time to finish what is in flight after SIGTERM."
    )
    heartbeat_seconds: int = Field(
        10, ge=5, le=600, description="AMQP heartbeat; a silent broker is noticed after three."
    )
    http_host: Annotated[str, AfterValidator(_name)] = Field(
        "0.0.0.0",
        description="Address of the health, metrics and status pages.",
        json_schema_extra=_allowed("an address or a host name"),
    )
    http_port: int = Field(9464, ge=0, le=65_535, description="Port of these pages; 0 picks a free one and logs it.")
    status_page: bool = Field(
        default=True,
        description="Serve the status page at `/`, and tell the configuration in `/status`; false does neither.",
        json_schema_extra=_allowed("true or false"),
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        "info", description="Least important log line that is written."
    )
    log_format: Annotated[Literal["json", "console"], BeforeValidator(_lower)] = Field(
        "json", description="JSON for machines, console for a person."
    )
    name: Annotated[str, AfterValidator(_name)] = Field(
        default_factory=socket.gethostname,
        description="Name of this relay in RabbitMQ's connection list, pg_stat_activity and the logs.",
        json_schema_extra=_allowed("printable text of 1 to 255 bytes"),
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 -- pydantic-settings' signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load` has read, and nothing behind its back: it sees files, strangers and empty values."""
        return (init_settings,)

    def numbers(self) -> dict[str, float]:
        """Return the numeric settings by their metric's name, such as `batch_size`."""
        return {
            name: value
            for name, value in ((name, getattr(self, name)) for name in type(self).model_fields)
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
