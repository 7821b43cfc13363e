"""The words of the relay: what a row says of itself."""

import pytest

from relay.model import Doubt, Fault, Refusal
from relay.ports import StoreUnavailable
from tests.doubles import a_row


@pytest.mark.parametrize(
    ("claims", "failures", "unanswered"),
    [(1, 0, 0), (2, 0, 1), (2, 1, 0), (4, 0, 3), (10, 9, 0), (10, 5, 4)],
)
def test_claims_that_ended_in_no_answer_are_counted(claims: int, failures: int, unanswered: int) -> None:
    assert a_row(claims=claims, failures=failures).unanswered == unanswered


def test_a_row_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        a_row().id = 2  # type: ignore[misc]  # that is the test


@pytest.mark.parametrize("labels", [Refusal, Fault, Doubt])
def test_labels_are_words_a_metric_can_carry(labels: type[Refusal | Fault | Doubt]) -> None:
    assert all(label.value.replace("_", "").islower() for label in labels)


def test_an_unavailable_store_says_why() -> None:
    error = StoreUnavailable(Fault.READ_ONLY, "this is a standby")
    assert (error.fault, error.detail, str(error)) == (
        Fault.READ_ONLY,
        "this is a standby",
        "read_only: this is a standby",
    )
