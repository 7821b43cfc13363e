"""The statements as they are composed."""

import pytest
from psycopg._queries import MAX_CACHED_STATEMENT_LENGTH

from relay.store.queries import compose, compose_claim

LONG_NAME = "x" * 63
"""The longest that Postgres knows."""


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("payload_type", ["jsonb", "bytea"])
def test_what_runs_with_every_batch_is_short_enough_for_psycopg_to_remember_its_placeholders(
    payload_type: str, *, ordered: bool
) -> None:
    claim = compose_claim(
        LONG_NAME, LONG_NAME, payload_type=payload_type, payload_type_id=3802, encoding="UTF8", ordered=ordered
    )
    others = compose(LONG_NAME, LONG_NAME, ordered=ordered, failed_blocks_key=ordered)
    lengths = [len(each) for each in (claim, others.mark_sent, others.turns, others.renew, others.release)]
    assert max(lengths) <= MAX_CACHED_STATEMENT_LENGTH


def test_no_comment_travels_to_the_database() -> None:
    assert b"--" not in compose_claim("s", "t", payload_type="json", payload_type_id=114, encoding="UTF8")
