"""The connection on which exchanges are asked about, when it cannot be had."""

from collections.abc import Awaitable, Callable

from relay.broker import BrokerConfig
from relay.broker.exchanges import Exchanges
from services.broker import Broker
from services.proxy import Proxy
from tests.builders import Amqp


async def test_a_broker_that_cannot_be_asked_is_asked_once_and_not_for_every_exchange(
    amqp: Amqp, rabbitmq: Broker, proxy: Callable[[str, int], Awaitable[Proxy]]
) -> None:
    between = await proxy(rabbitmq.host, rabbitmq.amqp_port)
    between.blackhole()
    exchanges = Exchanges(BrokerConfig(url=lambda: between.url(amqp.url), name="test", connect_timeout_s=0.5))
    names = {f"exchange-{number}" for number in range(20)}
    await exchanges.find_out(names)
    assert between.accepted == 1
    assert (exchanges.unknown(names), exchanges.refused(names)) == (set(), {})
