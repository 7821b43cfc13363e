"""Which exchanges a row may use: asked before publishing, for a publish to a missing one would close its channel.

The broker is asked with a passive declare on a connection of its own; what it said is believed for a while. What
cannot be found out that way (an internal exchange, a missing permission) is learned from the verdict on a publish.
Everything that is not known is believed to exist: then the publish itself will tell.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from relay.broker.channel import ConfirmChannel
from relay.broker.classify import ACCESS_REFUSED, NOT_FOUND, Loss, Verdict
from relay.broker.connection import BrokerConfig, connect
from relay.broker.link import Link
from relay.broker.within import within
from relay.model import Refusal, Refused

DEFAULT_EXCHANGE = ""
KNOWN_MAX = 1024
MISSING_TTL_S = 1.0
"""A missing exchange is asked about again that soon: asking harms nobody, and a belief costs every row an attempt."""
FORBIDDEN_TTL_S = 5.0
"""A forbidden one not so soon: it takes a publish to find out, which closes a channel with others in flight."""
_NEVER: tuple[Refused | None, float] = (None, float("-inf"))
_LEARNED = {NOT_FOUND: Refusal.NO_EXCHANGE, ACCESS_REFUSED: Refusal.FORBIDDEN}
_TTL_S = {Refusal.NO_EXCHANGE: MISSING_TTL_S, Refusal.FORBIDDEN: FORBIDDEN_TTL_S}


class Exchanges:
    """What is believed about exchanges, and the connection on which the broker is asked."""

    def __init__(self, config: BrokerConfig, now: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._now = now
        self._believed: dict[str, tuple[Refused | None, float]] = {}
        """Name → refused or not, and until when."""
        self._link: Link | None = None
        self._asking = asyncio.Lock()

    def unknown(self, names: Iterable[str]) -> set[str]:
        """Return those of the names that must be asked about."""
        now = self._now()
        return {name for name in names if name != DEFAULT_EXCHANGE and self._believed.get(name, _NEVER)[1] <= now}

    def refused(self, names: Iterable[str]) -> Mapping[str, Refused]:
        """Return those of the names that no row may use now."""
        return {name: why for name in names if (why := self._believed.get(name, _NEVER)[0]) is not None}

    async def find_out(self, names: Collection[str]) -> None:
        """Ask about those that are unknown. Always ends; never raises."""
        lost = False
        for name in self.unknown(names):
            # Once the broker cannot be asked it is not asked about the others, each of which could take as long.
            answer = None if lost else await self.ask(name)
            lost = lost or isinstance(answer, Loss)
            self._believe(name, answer if isinstance(answer, Refused) else None)

    async def ask(self, name: str) -> Refused | Loss | None:
        """Ask the broker whether the exchange exists; None when it does, or when the broker would not say."""
        async with self._asking:
            if self._link is None or self._link.end is not None:
                link = await connect(self._config, purpose="(exchange checks)")
                if isinstance(link, Loss):
                    return link
                self._link = link
            channel = await self._link.channel()
            if isinstance(channel, Loss):
                return channel
            try:
                return await self._declare(channel, name)
            finally:
                self._link.give_back(channel)

    async def _declare(self, channel: ConfirmChannel, name: str) -> Refused | Loss | None:
        try:
            await within(self._config.connect_timeout_s, channel.exchange_declare(name, passive=True))
        except Exception:  # noqa: BLE001 - how the channel ended says all; without an end the library would not ask
            if isinstance(channel.end, Loss):
                return channel.end
            if channel.end is not None and channel.end.code == NOT_FOUND:
                return Refused(Refusal.NO_EXCHANGE, channel.end.text)
        return None

    def judged(self, verdict: Verdict, names: Iterable[str]) -> None:
        """Learn from a close: forget what was believed about the exchanges in use, and believe what it says of one.

        A refused topic is not a refused exchange: it depends on the routing key.
        """
        reason = _LEARNED.get(verdict.code)
        for name in names:
            self._believed.pop(name, None)
            if reason is not None and f"exchange '{name}' in vhost" in verdict.text and " topic '" not in verdict.text:
                self._believe(name, Refused(reason, verdict.text))

    def _believe(self, name: str, refused: Refused | None) -> None:
        if len(self._believed) >= KNOWN_MAX:
            self._believed.clear()  # rows invent exchanges: ask again rather than grow
        longest_s = self._config.exchange_ttl_s
        ttl_s = longest_s if refused is None else min(longest_s, _TTL_S[refused.reason])
        self._believed[name] = (refused, self._now() + ttl_s)

    async def close(self, grace_s: float) -> None:
        """Close the connection."""
        if self._link is not None:
            await self._link.close(grace_s)
