"""What stands beside the relay in a cluster, checked by the tools of its trade: `make test-deploy`, not `make test`."""

import pytest

from tests.deploy import tools


def pytest_configure() -> None:
    """Say what brings the tools, rather than fail test by test."""
    if missing := tools.missing():
        raise pytest.UsageError(f"`make test-deploy` brings what these tests need; missing here: {', '.join(missing)}")
