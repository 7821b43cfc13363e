"""The engine between doubles, on a clock that jumps."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.doubles import Bench, VirtualLoop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:  # noqa: ARG001
    """Run every test of this folder on virtual time."""
    return {"virtual": VirtualLoop}


@pytest.fixture
async def bench() -> Bench:
    """An engine of two lanes with its usual policy."""
    return Bench()


@pytest.fixture
async def a_bench() -> Callable[..., Bench]:
    """Makes engines of other policies: `a_bench(lanes=1, batch_size=5)`."""
    return Bench
