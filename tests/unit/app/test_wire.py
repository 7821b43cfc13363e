"""What a connection calls itself in pg_stat_activity."""

import pytest

from relay import __version__
from relay.app.wire import APPLICATION_BYTES_MAX, application


def test_a_relay_names_its_version_and_itself() -> None:
    assert application("relay", "outbox-7c9d8-x2x9z") == f"relay/{__version__} outbox-7c9d8-x2x9z"


@pytest.mark.parametrize("letter", ["x", "ü", "€"])
def test_of_a_name_that_is_too_long_the_end_tells_replicas_apart(letter: str) -> None:
    one, other = (application("relay", letter * 80 + end) for end in ("-abcde", "-fghij"))
    assert one != other
    assert (one[-6:], other[-6:]) == ("-abcde", "-fghij")
    assert one.startswith(f"relay/{__version__} ~{letter}")
    assert APPLICATION_BYTES_MAX - 3 < len(one.encode()) <= APPLICATION_BYTES_MAX


def test_a_name_that_just_fits_stays_whole() -> None:
    name = "n" * (APPLICATION_BYTES_MAX - len(application("relay", "")))
    assert application("relay", name).endswith(f" {name}")
    assert application("relay", name + "n").endswith("~" + name[1:])
