"""Open a connection to the broker: one attempt, the URL and its files read anew, every wait bounded."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from pamqp.common import FieldTable
from yarl import URL

from relay import __version__
from relay.broker.classify import TEXT_CHARS_MAX, Loss, connect_failed, not_greeted
from relay.broker.link import Connection, Link
from relay.broker.transport import Transport
from relay.broker.within import within
from relay.model import Fault

PRODUCT = "outbox-relay"
PORTS = {"amqp": 5672, "amqps": 5671}
_HOSTS = re.compile(r"(?P<before>[^/]*//(?:[^/?#]*@)?)(?P<hosts>[^/?#]*)(?P<after>.*)")


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """How to reach the broker and how long to wait for it; times in seconds."""

    url: Callable[[], str]
    """Called for every connection, so that a rotated password is used. May raise OSError or ValueError, in words
    that may be shown: then there is no connection now.

    `amqp://` or `amqps://`; the hosts of a cluster's nodes are separated by commas. Over TLS the query may name cafile,
    capath, certfile, keyfile and no_verify_ssl=1.
    """
    name: str
    """Shown by the broker as the connection's name."""
    heartbeat_s: int = 10
    confirm_timeout_s: float = 30.0
    """The longest silence of a living channel with messages in flight, before the connection is dropped."""
    connect_timeout_s: float = 10.0
    """For a whole attempt to connect, shared by the hosts, and for each question asked on the connection later."""
    exchange_ttl_s: float = 30.0
    """How long it is believed that an exchange exists, or does not."""


async def connect(config: BrokerConfig, *, purpose: str = "", private: bool = False) -> Link | Loss:
    """Open a connection, or say why there is none; a `private` one is for one message and nothing else.

    Of several hosts each is tried once, in an order drawn anew, so that relays spread over a cluster. When none can be
    used, the first one named in the URL gives the reason.
    """
    try:
        urls = _urls(config.url(), config.heartbeat_s)
    except (OSError, ValueError) as error:
        return Loss(Fault.OTHER, f"the broker's URL cannot be used: {error}"[:TEXT_CHARS_MAX])
    name = f"{config.name} {purpose}".rstrip()
    losses: dict[URL, Loss] = {}
    for url in random.sample(urls, len(urls)):
        answer = await _connect(url, config, name, within_s=config.connect_timeout_s / len(urls), private=private)
        # Refused credentials would be so at the other nodes, and too many failures may lock the login.
        if isinstance(answer, Link) or answer.fault is Fault.AUTH:
            return answer
        losses[url] = answer
    # Told in the order of the URL, or the reason would change from probe to probe.
    told = [losses[url] for url in urls]
    return Loss(told[0].fault, "; ".join(loss.detail for loss in told)[:TEXT_CHARS_MAX])


async def _connect(url: URL, config: BrokerConfig, name: str, *, within_s: float, private: bool) -> Link | Loss:
    transport = Transport(config.heartbeat_s)
    properties: FieldTable = {"product": PRODUCT, "version": __version__, "connection_name": name}
    link: Link | None = None
    connection = Connection(url, transport_factory=transport, client_properties=properties)
    try:
        await within(within_s, connection.connect())
        link = Link(connection, transport, timeout_s=config.connect_timeout_s, private=private)
    except Exception as error:  # noqa: BLE001 - this function's answer is why there is no connection
        loss = connect_failed(error)
        if not connection.greeted:
            loss = not_greeted(loss, tls=url.scheme == "amqps")
        return Loss(loss.fault, f"{url.host}:{url.port}: {loss.detail}"[:TEXT_CHARS_MAX])
    finally:
        if link is None:
            transport.reset()
    return link


def _urls(text: str, heartbeat_s: int) -> list[URL]:
    """Complete the URL of every host. Raises ValueError, whose text must not repeat the URL: it holds the password."""
    match = _HOSTS.fullmatch(text)
    hosts = match["hosts"].split(",") if match else [""]
    return [_url(f"{match['before']}{host}{match['after']}" if match else text, heartbeat_s) for host in hosts]


def _url(text: str, heartbeat_s: int) -> URL:
    """Complete the URL. Raises ValueError, whose text must not repeat the URL: it holds the password."""
    try:
        url = URL(text).update_query({"heartbeat": str(heartbeat_s)})
    except ValueError:
        raise ValueError("it cannot be parsed") from None
    if url.scheme not in PORTS or not url.host:
        raise ValueError("it must begin with amqp:// or amqps:// and name a host")
    return url if url.explicit_port else url.with_port(PORTS[url.scheme])
