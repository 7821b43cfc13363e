"""Which Postgres and RabbitMQ to use, in this order: named by the environment, a Docker engine's, the machine's own.

The environment may name running servers, or a folder with a RabbitMQ to start private nodes of.
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence

from services import containers, postgres, rabbitmq_binaries
from services.broker import Broker
from services.containers import ContainerPostgres, ContainerRabbitMQ
from services.pgbouncer import PgBouncer
from services.postgres import Postgres, PostgresServer
from services.process import ServerFailed
from services.rabbitmq import RabbitMQ
from services.standby import Standby
from services.tls import Tls

DATABASE_VARIABLE = "RELAY_TEST_DATABASE_URL"
AMQP_VARIABLE = "RELAY_TEST_AMQP_URL"

OwnPostgres = Postgres | ContainerPostgres
OwnRabbitMQ = RabbitMQ | ContainerRabbitMQ


class NothingFound(Exception):
    """There is no server to be had; the message says how to get one."""

    def __init__(self, what: str, variable: str, package: str, tried: str) -> None:
        super().__init__(
            f"No {what} to run against ({tried}). One of these helps: `make test` as root on Debian or Ubuntu (it"
            f" installs the package), `apt-get install {package}`, a running Docker engine, or a URL in {variable}."
        )


@functools.cache
def engine() -> bool:
    """Whether a Docker engine answers; asked once."""
    return containers.engine_answers()


def has_binaries(binaries: Callable[[], object]) -> bool:
    """Whether the machine has a server's own binaries."""
    try:
        binaries()
    except ServerFailed:
        return False
    return True


def plan() -> dict[str, str]:
    """For each service, what would be used, for a person; nothing is started."""
    return {
        "Postgres": _plan(DATABASE_VARIABLE, containers.POSTGRES_IMAGE, postgres.binaries, contained=engine()),
        "RabbitMQ": _plan(
            AMQP_VARIABLE, containers.RABBITMQ_IMAGE, rabbitmq_binaries.binaries, contained=_contained_broker()
        ),
    }


def _plan(variable: str, image: str, binaries: Callable[[], object], *, contained: bool) -> str:
    if os.environ.get(variable):
        return f"the server named by {variable}"
    if contained:
        return f"a container of {image}"
    if has_binaries(binaries):
        return f"a private server from {binaries()}"
    return "none: there is neither a Docker engine nor a binary"


def shared_postgres() -> PostgresServer:
    """A server to make databases in. Raises NothingFound."""
    if url := os.environ.get(DATABASE_VARIABLE):
        return PostgresServer(url)
    if engine():
        return ContainerPostgres()
    return _private_postgres(durable=False, settings=None, hba=(), tls=None)


def shared_rabbitmq() -> Broker:
    """A broker to make vhosts in. Raises NothingFound."""
    if url := os.environ.get(AMQP_VARIABLE):
        return Broker(url)
    if _contained_broker():
        return ContainerRabbitMQ()
    return _private_rabbitmq(config=(), tls=None, verify_peer=True)


def own_postgres(
    *,
    durable: bool = False,
    settings: Mapping[str, str] | None = None,
    hba: Sequence[str] = (),
    tls: Tls | None = None,
    engine_first: bool = False,
) -> OwnPostgres:
    """A server to break. Raises NothingFound.

    Private binaries first, because only they can be configured whole; with `engine_first` a container where it can be.
    """
    if _in_container(postgres.binaries, engine_first) and not hba and tls is None:
        return ContainerPostgres(settings=settings)
    return _private_postgres(durable=durable, settings=settings, hba=hba, tls=tls)


def own_standby(primary: OwnPostgres) -> Standby:
    """A standby of a private server, whose data a container would keep from us. Raises NothingFound."""
    if not isinstance(primary, Postgres):
        raise NothingFound("Postgres with its own binaries", DATABASE_VARIABLE, "postgresql", "only containers")
    return Standby(primary)


def own_pgbouncer(server: PostgresServer, **settings: str) -> PgBouncer:
    """A PgBouncer in front of a server. Raises ServerFailed when the machine has no such program."""
    return PgBouncer(server, **settings)


def own_rabbitmq(
    *, config: Sequence[str] = (), tls: Tls | None = None, verify_peer: bool = True, engine_first: bool = False
) -> OwnRabbitMQ:
    """A broker to break; found as `own_postgres` is. Raises NothingFound."""
    if _in_container(rabbitmq_binaries.binaries, engine_first and _contained_broker()) and not config and tls is None:
        return ContainerRabbitMQ()
    return _private_rabbitmq(config=config, tls=tls, verify_peer=verify_peer)


def _contained_broker() -> bool:
    """Whether a shared broker is a container: an engine answers, and nobody named an unpacked server."""
    return engine() and not os.environ.get(rabbitmq_binaries.TREE_VARIABLE)


def _in_container(binaries: Callable[[], object], engine_first: bool) -> bool:  # noqa: FBT001  # named at the callers
    return (engine_first or not has_binaries(binaries)) and engine()


def _private_postgres(
    *, durable: bool, settings: Mapping[str, str] | None, hba: Sequence[str], tls: Tls | None
) -> Postgres:
    if not has_binaries(postgres.binaries):
        tried = "no binaries on this machine" if engine() else "no Docker engine answers, no binaries on this machine"
        raise NothingFound("Postgres", DATABASE_VARIABLE, "postgresql", tried)
    return Postgres(durable=durable, settings=settings, hba=hba, tls=tls)


def _private_rabbitmq(*, config: Sequence[str], tls: Tls | None, verify_peer: bool) -> RabbitMQ:
    if not has_binaries(rabbitmq_binaries.binaries):
        tried = "no binaries on this machine" if engine() else "no Docker engine answers, no binaries on this machine"
        raise NothingFound("RabbitMQ", AMQP_VARIABLE, "rabbitmq-server", tried)
    return RabbitMQ(config=config, tls=tls, verify_peer=verify_peer)
