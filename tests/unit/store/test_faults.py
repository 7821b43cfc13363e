"""What an error of the database is called."""

import psycopg
import pytest
from psycopg import errors

from relay.model import Fault
from relay.store.faults import DETAIL_CHARS_MAX, never_connected, unavailable

SENTENCES = [
    ('FATAL:  password authentication failed for user "u"', Fault.AUTH),
    ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", SSL off', Fault.AUTH),
    ('FATAL:  role "u" does not exist', Fault.AUTH),
    ('FATAL:  role "u" is not permitted to log in', Fault.AUTH),
    ("fe_sendauth: no password supplied", Fault.AUTH),
    ('FATAL:  database "d" does not exist', Fault.SCHEMA),
    ('FATAL:  database "d" is not currently accepting connections', Fault.SCHEMA),
    ("FATAL:  sorry, too many clients already", Fault.LIMIT),
    ('FATAL:  too many connections for role "u"', Fault.LIMIT),
    ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", Fault.LIMIT),
    ("FATAL:  no more connections allowed (max_client_conn)", Fault.LIMIT),
    ("session is read-only", Fault.READ_ONLY),
    ("server is in hot standby mode", Fault.READ_ONLY),
    ("Connection refused\n\tIs the server running on that host?", Fault.REFUSED),
    ("FATAL:  the database system is starting up", Fault.REFUSED),
    ("FATAL:  the database system is in recovery mode", Fault.REFUSED),
    ("FATAL:  the database system is shutting down", Fault.REFUSED),
    ('connection to server on socket "/tmp/.s.PGSQL.5432" failed: No such file or directory', Fault.REFUSED),
    ("SSL error: certificate verify failed", Fault.TLS),
    ('server certificate for "a" does not match host name "b"', Fault.TLS),
    ("server does not support SSL, but SSL was required", Fault.TLS),
    ('root certificate file "/x/root.crt" does not exist', Fault.TLS),
    ("FATAL:  connection requires a valid client certificate", Fault.TLS),
    ("SSL SYSCALL error: EOF detected", Fault.LOST),
    ("server closed the connection unexpectedly", Fault.LOST),
    ("connection timeout expired", Fault.TIMEOUT),
    ("Connection timed out", Fault.TIMEOUT),
    ("failed to resolve host 'h': [Errno -2] Name or service not known", Fault.UNREACHABLE),
    ("No route to host", Fault.UNREACHABLE),
    ("a sentence nobody knows", Fault.UNREACHABLE),
    ('connection to server at "h", port 1 failed: FATAL:  Passwort-Authentifizierung fehlgeschlagen', Fault.OTHER),
    ('connection to server at "h", port 1 failed: 致命错误:  数据库 "d" 不存在', Fault.OTHER),
]


@pytest.mark.parametrize(("sentence", "fault"), SENTENCES)
def test_a_connection_that_was_never_made_is_judged_by_its_sentence(sentence: str, fault: Fault) -> None:
    told = never_connected(psycopg.OperationalError(f"connection failed: {sentence}"))
    assert told.fault is fault
    assert told.detail == sentence.splitlines()[0]


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (errors.AdminShutdown, Fault.LOST),
        (errors.CrashShutdown, Fault.LOST),
        (errors.CannotConnectNow, Fault.REFUSED),
        (errors.QueryCanceled, Fault.TIMEOUT),
        (errors.LockNotAvailable, Fault.TIMEOUT),
        (errors.IdleInTransactionSessionTimeout, Fault.TIMEOUT),
        (errors.ReadOnlySqlTransaction, Fault.READ_ONLY),
        (errors.FeatureNotSupported, Fault.READ_ONLY),
        (errors.UndefinedTable, Fault.SCHEMA),
        (errors.UndefinedColumn, Fault.SCHEMA),
        (errors.UndefinedFunction, Fault.SCHEMA),
        (errors.InvalidSchemaName, Fault.SCHEMA),
        (errors.InsufficientPrivilege, Fault.PERMISSION),
        (errors.TooManyConnections, Fault.LIMIT),
        (errors.DiskFull, Fault.LIMIT),
        (errors.OutOfMemory, Fault.LIMIT),
        (errors.ConnectionFailure, Fault.LOST),
        (errors.DeadlockDetected, Fault.OTHER),
        (errors.IoError, Fault.OTHER),
        (errors.DataCorrupted, Fault.OTHER),
        (psycopg.OperationalError, Fault.LOST),
        (psycopg.InterfaceError, Fault.LOST),
    ],
)
def test_an_error_of_a_session_is_judged_by_its_state(error: type[psycopg.Error], fault: Fault) -> None:
    told = unavailable(error("a sentence"))
    assert told is not None
    assert told.fault is fault


@pytest.mark.parametrize(
    "error",
    [
        errors.SyntaxError,
        errors.NumericValueOutOfRange,
        psycopg.DataError,
    ],
)
def test_a_bug_of_ours_is_no_fault_of_the_database(error: type[psycopg.Error]) -> None:
    assert unavailable(error("a sentence")) is None


@pytest.mark.parametrize(
    "error", [errors.CheckViolation, errors.NotNullViolation, errors.RaiseException, errors.TriggeredActionException]
)
def test_a_rule_the_service_put_on_the_table_is_an_outage_not_a_crash(error: type[psycopg.Error]) -> None:
    told = unavailable(error("a sentence"))
    assert told is not None
    assert told.fault is Fault.OTHER


def test_a_connection_string_that_cannot_be_read_is_not_quoted() -> None:
    told = never_connected(psycopg.ProgrammingError('missing "=" after "hunter2" in connection info string'))
    assert (told.fault, "hunter2" in str(told)) == (Fault.OTHER, False)


def test_a_detail_is_one_short_line() -> None:
    told = unavailable(psycopg.OperationalError("x" * 1000 + "\nDETAIL: a row"))
    assert told is not None
    assert told.detail == "x" * DETAIL_CHARS_MAX
    empty = unavailable(psycopg.OperationalError(""))
    assert empty is not None
    assert empty.detail == "OperationalError"
