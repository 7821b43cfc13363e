"""The broker side: RabbitMQ behind `relay.ports.Publisher`.

`publisher` answers for batches · `flight` carries one on a channel · `link` is a connection until its end · `channel`
resolves confirms · `exchanges` knows which may be used · `wire` encodes · `classify` says what an end means ·
`connection` and `transport` open one · `within` bounds every wait on the library.
"""

from relay.broker.connection import BrokerConfig
from relay.broker.flight import FLUSH_S
from relay.broker.publisher import RabbitPublisher

__all__ = ["FLUSH_S", "BrokerConfig", "RabbitPublisher"]
