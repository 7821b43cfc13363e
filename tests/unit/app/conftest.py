"""The samples have timers: their tests run on virtual time."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.doubles.clock import VirtualLoop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:  # noqa: ARG001
    """Run every test of this folder on virtual time."""
    return {"virtual": VirtualLoop}
