"""RabbitMQ over TLS: a private authority, client certificates, and what is said when they do not fit.

The broker is nobody else's: once, on one that had been stopped and started as an application, the TLS port fell silent.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.model import Fault
from services import find
from services.find import OwnRabbitMQ
from services.tls import Authority, Tls
from tests.builders import Amqp
from tests.publishing import envelope, publish, publishing, tally


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The certificate authority that the broker trusts."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def broker(authority: Authority) -> Iterator[OwnRabbitMQ]:
    """A broker that asks TLS clients for a certificate."""
    made = find.own_rabbitmq(tls=authority.issue("localhost"), verify_peer=True)
    yield made
    made.close()


def tls_url(broker: OwnRabbitMQ, part: Amqp, **query: str | Path) -> str:
    """The amqps URL with those query parameters; `host` is not one of them."""
    host = query.pop("host", "localhost")
    plain = part.url.replace("amqp://", "amqps://").partition("@")[0]
    tail = "&".join(f"{name}={value}" for name, value in query.items())
    return f"{plain}@{host}:{tls_port(broker)}/{part.vhost}?{tail}"


def tls_port(broker: OwnRabbitMQ) -> int:
    """Where it speaks TLS; only a broker of the machine's own binaries does."""
    return int(getattr(broker, "tls_port", 0))


@pytest.fixture(scope="module")
def client(authority: Authority) -> Tls:
    """A client certificate that the broker trusts."""
    return authority.issue("relay.example", common_name="relay")


async def test_a_private_authority_and_a_client_certificate_are_enough(
    broker: OwnRabbitMQ, part: Amqp, client: Tls
) -> None:
    url = tls_url(broker, part, cafile=client.ca, certfile=client.cert, keyfile=client.key)
    async with publishing(url) as publisher:
        mixed = [envelope(1, body=b"x" * 2**20), envelope(2, "nowhere"), envelope(3, exchange="missing")]
        assert tally(await publish(publisher, mixed)) == {"confirmed": 1, "unroutable": 1, "no_exchange": 1}


async def test_a_certificate_is_not_looked_at_only_when_told_so(broker: OwnRabbitMQ, part: Amqp, client: Tls) -> None:
    url = tls_url(broker, part, certfile=client.cert, keyfile=client.key, no_verify_ssl="1")
    async with publishing(url) as publisher:
        assert await publisher.ready() is None


async def test_tls_that_does_not_fit_says_why(broker: OwnRabbitMQ, part: Amqp, client: Tls, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "strangers").issue("relay.example", common_name="stranger")
    ours: dict[str, str | Path] = {"cafile": client.ca, "certfile": client.cert, "keyfile": client.key}
    for url, detail in (
        (tls_url(broker, part, **ours | {"cafile": stranger.ca}), "certificate verify failed: "),
        (tls_url(broker, part, certfile=client.cert, keyfile=client.key), "certificate verify failed: "),
        (
            tls_url(broker, part, **ours | {"host": "127.0.0.1"}),
            "IP address mismatch, certificate is not valid for '127.0.0.1'",
        ),
        (tls_url(broker, part, **ours | {"cafile": "/nonexistent"}), "cannot be loaded: [Errno 2]"),
        (tls_url(broker, part, **ours | {"keyfile": stranger.key}), "cannot be loaded: "),
        (tls_url(broker, part, **ours | {"certfile": stranger.cert, "keyfile": stranger.key}), ""),
        (tls_url(broker, part, cafile=client.ca), ""),
    ):
        async with publishing(url) as publisher:
            told = await publisher.ready()
            assert told is not None, url
            assert told.fault is Fault.TLS, told
            assert detail in told.detail


async def test_a_port_for_tls_that_is_spoken_to_without_says_so(broker: OwnRabbitMQ) -> None:
    async with publishing(f"amqp://guest:secret@127.0.0.1:{tls_port(broker)}/", connect_timeout_s=5.0) as publisher:
        told = await publisher.ready()
    assert told is not None
    assert (told.fault, told.written) == (Fault.LOST, False)
    assert "is it a port for amqps?" in told.detail
    assert "secret" not in told.detail
