"""The library's calls, for a limited time."""

import asyncio
import contextlib

import pytest

from relay.broker.within import within


async def test_a_call_that_the_library_cancels_ends_in_an_error() -> None:
    """It is an outcome of the call, and no `except Exception` around it would see a cancellation."""

    async def given_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ConnectionAbortedError):
        await within(5, given_up())


async def test_a_call_that_ignores_its_cancellation_does_not_hold_the_caller() -> None:
    let_go = asyncio.Event()

    async def stubborn() -> None:
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()

    with pytest.raises(TimeoutError):
        await within(0.01, stubborn())
    let_go.set()


async def test_what_a_call_returns_or_raises_is_handed_on() -> None:
    async def answer() -> int:
        return 7

    async def refuse() -> int:
        raise LookupError

    assert await within(5, answer()) == 7
    with pytest.raises(LookupError):
        await within(5, refuse())
