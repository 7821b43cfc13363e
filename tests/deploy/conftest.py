"""What stands beside the relay in a cluster, checked by the tools of its trade: `make test-deploy`, not `make test`."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services import find
from services.find import OwnPostgres
from services.rabbitmq import RabbitMQ
from tests.deploy import tools
from tests.deploy.stage import Stage, opened


def pytest_configure() -> None:
    """Say what brings the tools, rather than fail test by test."""
    if missing := tools.missing():
        raise pytest.UsageError(f"`make test-deploy` brings what these tests need; missing here: {', '.join(missing)}")


@pytest.fixture(scope="session")
def own_server() -> Iterator[OwnPostgres]:
    """A Postgres whose roles are ours to make."""
    made = find.own_postgres()
    yield made
    made.close()


@pytest.fixture(scope="session")
def own_node() -> Iterator[RabbitMQ]:
    """A RabbitMQ whose users and alarms are ours to make."""
    made = find.own_rabbitmq()
    assert isinstance(made, RabbitMQ), "its rabbitmqctl is run here: make test-deploy installs it"
    yield made
    made.close()


@pytest.fixture
async def stage(own_server: OwnPostgres, own_node: RabbitMQ, tmp_path: Path) -> AsyncIterator[Stage]:
    """What a person on call has in the shell, with the table, logins and grants that the pages tell of."""
    async with opened(own_server, own_node, tmp_path) as made:
        yield made
