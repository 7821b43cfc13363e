"""When samples are taken, and what becomes of one that fails."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from relay.app.samples import Sample, keep
from relay.model import Fault
from relay.ports import StoreUnavailable


def now() -> float:
    return asyncio.get_running_loop().time()


async def kept(seconds: float, *samples: Sample) -> None:
    """Keep them for so long."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await keep(*samples)


def noted(times: list[float]) -> Callable[[], Awaitable[None]]:
    """A sample that notes when it is taken."""

    async def take() -> None:
        times.append(now())

    return take


async def test_each_kind_has_its_own_timer_and_begins_at_once() -> None:
    began, often, seldom = now(), list[float](), list[float]()
    await kept(600, Sample(noted(often), pytest.fail, 10), Sample(noted(seldom), pytest.fail, 60))
    assert [often[0], seldom[0]] == pytest.approx([began, began], abs=0.1)
    for times, every_s in ((often, 10), (seldom, 60)):
        waits = [after - before for before, after in pairwise(times)]
        assert min(waits) >= 0.9 * every_s - 0.01
        assert max(waits) <= 1.1 * every_s + 0.01
        assert len(set(waits)) == len(waits), "replicas must not come at once"


async def test_they_are_never_taken_side_by_side() -> None:
    """There is one connection for them; a second would be taken from a lane."""
    ends: list[tuple[float, float]] = []

    async def slow() -> None:
        began = now()
        await asyncio.sleep(3)
        ends.append((began, now()))

    await kept(60, Sample(slow, pytest.fail, 1), Sample(slow, pytest.fail, 2))
    assert len(ends) > 10
    assert all(end <= began for (_, end), (began, _) in pairwise(ends))


async def test_a_sample_that_fails_is_told_and_comes_again_and_harms_no_other() -> None:
    told: list[Fault] = []
    others: list[float] = []

    async def fails() -> None:
        raise StoreUnavailable(Fault.TIMEOUT, "no")

    await kept(100, Sample(fails, told.append, 10), Sample(noted(others), pytest.fail, 10))
    assert set(told) == {Fault.TIMEOUT}
    assert 9 <= len(told) <= 12
    assert 9 <= len(others) <= 12


async def test_a_bug_of_ours_ends_it() -> None:
    async def bug() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await keep(Sample(bug, pytest.fail, 10))
