"""Harm to RabbitMQ, to what was declared there, and to what the relays may do there."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from secrets import token_urlsafe

import aio_pika
from pamqp.common import FieldValue

from chaos import drain
from chaos.drafts import EXCHANGE
from chaos.harms.persist import Hurt, in_thread, persist
from chaos.stage import BINDINGS, LOGIN, Stage

FULL_QUEUE = "chaos.full"
FULL: dict[str, FieldValue] = {"x-max-length": 1, "x-overflow": "reject-publish"}
NO_DISK, SOME_DISK = "999GB", "50MB"


@asynccontextmanager
async def broker_kill(stage: Stage, _: str) -> AsyncIterator[None]:
    """SIGKILL to all of its processes, and a start on its data."""
    await stage.in_thread(stage.rabbitmq.kill)
    try:
        yield
    finally:
        await in_thread(stage, stage.rabbitmq.start)


@asynccontextmanager
async def broker_pause(stage: Stage, _: str) -> AsyncIterator[None]:
    """SIGSTOP: connections stay open and nothing answers."""
    await stage.in_thread(stage.rabbitmq.pause)
    try:
        yield
    finally:
        await stage.in_thread(stage.rabbitmq.resume)


def ctl(make: Sequence[str], heal: Sequence[str]) -> Hurt:
    """Make and heal a fault with rabbitmqctl."""

    @asynccontextmanager
    async def hurt(stage: Stage, _: str) -> AsyncIterator[None]:
        try:
            await in_thread(stage, lambda: stage.rabbitmq.ctl(*make))
            yield
        finally:
            await in_thread(stage, lambda: stage.rabbitmq.ctl(*heal))
            await in_thread(stage, lambda: stage.rabbitmq.api("GET", "/api/vhosts"))

    return hurt


@asynccontextmanager
async def permission_revoked(stage: Stage, _: str) -> AsyncIterator[None]:
    """RabbitMQ remembers rights for as long as a channel is open, so the connections are reset."""
    try:
        await in_thread(stage, lambda: stage.permit(write="^$"))
        reset(stage)
        yield
    finally:
        await in_thread(stage, lambda: stage.permit(write=".*"))


@asynccontextmanager
async def password_changed(stage: Stage, _: str) -> AsyncIterator[None]:
    """The relays' secret files follow late. An open connection goes on with an old password, so all are reset."""
    fresh = token_urlsafe(12)
    try:
        await in_thread(stage, lambda: stage.change_password(fresh))
        reset(stage)
        yield
    finally:
        await in_thread(stage, lambda: stage.change_password(fresh))
        stage.replicas.login(stage.rabbitmq.url(None, LOGIN, fresh))


def reset(stage: Stage) -> None:
    """Reset every relay's connections to the broker."""
    for each in stage.replicas:
        each.amqp.reset_all()


@asynccontextmanager
async def exchange_deleted(stage: Stage, _: str) -> AsyncIterator[None]:
    """The exchange of all rows goes, and its bindings with it."""
    try:
        await persist(lambda: _delete_exchange(stage))
        yield
    finally:
        await persist(stage.declare)


async def _delete_exchange(stage: Stage) -> None:
    async with await stage.admin() as connection, connection.channel() as channel:
        await (await channel.get_exchange(EXCHANGE, ensure=False)).delete()  # also when it is gone already


@asynccontextmanager
async def queue_unbound(stage: Stage, _: str) -> AsyncIterator[None]:
    """Nothing takes what is published."""
    try:
        await persist(lambda: unbind(stage, BINDINGS))
        yield
    finally:
        await persist(stage.declare)


async def unbind(stage: Stage, keys: Sequence[str]) -> None:
    """Take those keys away from the drain's queue."""
    async with await stage.admin() as connection, connection.channel() as channel:
        queue = await channel.get_queue(drain.QUEUE)
        for key in keys:
            await queue.unbind(EXCHANGE, key)


@asynccontextmanager
async def queue_full(stage: Stage, _: str) -> AsyncIterator[None]:
    """A full queue that rejects publishes takes the place of the drain's queue for some keys.

    It never stands beside it: then every rejected publish would arrive all the same, and again with each attempt.
    """
    try:
        await persist(lambda: unbind(stage, BINDINGS[1:]))
        await persist(lambda: _fill(stage))
        yield
    finally:
        await persist(lambda: _empty(stage))
        await persist(stage.declare)


async def _fill(stage: Stage) -> None:
    async with await stage.admin() as connection, connection.channel() as channel:
        queue = await channel.declare_queue(FULL_QUEUE, durable=True, arguments=FULL)
        with contextlib.suppress(aio_pika.exceptions.DeliveryError):  # it is full already
            await channel.default_exchange.publish(aio_pika.Message(b"", message_id=drain.END), FULL_QUEUE)
        await queue.bind(EXCHANGE, BINDINGS[1])


async def _empty(stage: Stage) -> None:
    """Take it away; what got in nevertheless has arrived."""
    positions = drain.Positions()
    async with await stage.admin() as connection, connection.channel() as channel:
        queue = await channel.declare_queue(FULL_QUEUE, durable=True, arguments=FULL)
        await queue.unbind(EXCHANGE, BINDINGS[1])
        while (message := await queue.get(fail=False)) is not None:
            if message.message_id != drain.END:
                stage.log.add(drain.arrival(message, positions.next()))
            await message.ack()
        await queue.delete()
