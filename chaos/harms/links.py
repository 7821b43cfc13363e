"""Harm to the relays' links to both servers, and to the producers' link to Postgres."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from chaos.harms.persist import Hurt, persist
from chaos.schedule import SHOP
from chaos.stage import Stage
from services.proxy import Proxy

SLOW_S = 0.1
"""A chunk over a slow link comes that much later, each way."""


def link(pick: Callable[[Stage, str], Sequence[Proxy]], make: Callable[[Proxy], Awaitable[None]]) -> Hurt:
    """Harm links; they heal by passing everything again, also what was held."""

    @asynccontextmanager
    async def hurt(stage: Stage, target: str) -> AsyncIterator[None]:
        links = pick(stage, target)
        try:
            for each in links:
                await make(each)
            yield
        finally:
            for each in links:
                await persist(each.pass_all)

    return hurt


def amqp(stage: Stage, target: str) -> Sequence[Proxy]:
    """Return the links of those relays to the broker."""
    return [each.amqp for each in stage.replicas.of(target)]


def postgres(stage: Stage, target: str) -> Sequence[Proxy]:
    """Return the links of those relays to Postgres, or the producers'."""
    return [stage.shop] if target == SHOP else [each.postgres for each in stage.replicas.of(target)]


async def cut(proxy: Proxy) -> None:
    """Refuse and reset."""
    await proxy.refuse()
    proxy.reset_all()


async def reset_once(proxy: Proxy) -> None:
    """Reset what is open; what comes next is taken."""
    proxy.reset_all()


async def held_up(proxy: Proxy) -> None:
    """Hold what the relay says."""
    proxy.hold("up")


async def held_down(proxy: Proxy) -> None:
    """Hold what the server answers."""
    proxy.hold("down")


async def blackhole(proxy: Proxy) -> None:
    """Hold everything; connecting succeeds."""
    proxy.blackhole()


async def slow(proxy: Proxy) -> None:
    """Carry everything late."""
    proxy.delay(SLOW_S)
