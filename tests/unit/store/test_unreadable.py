"""What an error of a claim says of a row that was read alone."""

import psycopg
import pytest
from psycopg import errors

from relay.model import Refusal
from relay.store.unreadable import blame


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.UntranslatableCharacter, Refusal.INVALID),
        (errors.CharacterNotInRepertoire, Refusal.INVALID),
        (errors.ProgramLimitExceeded, Refusal.INVALID),
        (errors.StatementTooComplex, Refusal.INVALID),
        (errors.QueryCanceled, Refusal.UNREADABLE),
        (errors.DataCorrupted, Refusal.UNREADABLE),
    ],
)
def test_what_a_value_can_cause_is_blamed_on_its_row_without_quoting_it(
    error: type[psycopg.Error], reason: Refusal
) -> None:
    refused = blame(error("the value is hunter2"))
    assert refused is not None
    assert (refused.reason, "hunter2" in refused.detail) == (reason, False)


@pytest.mark.parametrize(
    "error",
    [
        errors.AdminShutdown,
        errors.CheckViolation,
        errors.DeadlockDetected,
        errors.InsufficientPrivilege,
        errors.LockNotAvailable,
        errors.OutOfMemory,
        errors.SyntaxError,
        errors.UndefinedColumn,
        psycopg.OperationalError,
    ],
)
def test_what_no_value_can_cause_blames_no_row(error: type[psycopg.Error]) -> None:
    assert blame(error("a sentence")) is None
