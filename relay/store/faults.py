"""What went wrong at the database, as one of the closed set of faults; pure.

An error that no fault describes is our own bug and stays what it is: it must crash the relay, not look like weather.
Texts are made of the SQLSTATE and the primary message only. A DETAIL line may hold a row.
"""

import re

import psycopg

from relay.model import Fault
from relay.ports import StoreUnavailable

DETAIL_CHARS_MAX = 300
FORGETFUL = ("26000", "42P05")
"""What this session prepared is not there, or what others prepared is: a pooler hands sessions on, and hides it."""

_BY_SQLSTATE = {
    "0A000": Fault.READ_ONLY,  # what a standby answers to BEGIN READ WRITE, when a pooler has changed to one
    "25006": Fault.READ_ONLY,
    "25P03": Fault.TIMEOUT,
    "25P04": Fault.TIMEOUT,
    **dict.fromkeys(FORGETFUL, Fault.OTHER),
    "3D000": Fault.SCHEMA,
    "3F000": Fault.SCHEMA,
    "42501": Fault.PERMISSION,
    "42703": Fault.SCHEMA,
    "42704": Fault.SCHEMA,
    "42804": Fault.SCHEMA,
    "42809": Fault.SCHEMA,
    "42883": Fault.SCHEMA,
    "42P01": Fault.SCHEMA,
    "55P03": Fault.TIMEOUT,
    "57014": Fault.TIMEOUT,
    "57P03": Fault.REFUSED,
    "57P05": Fault.TIMEOUT,
}
_BY_CLASS = {
    "08": Fault.LOST,
    "09": Fault.OTHER,  # this, 23 and P0: a trigger or a constraint that the service put on the table
    "23": Fault.OTHER,
    "28": Fault.AUTH,
    "40": Fault.OTHER,
    "53": Fault.LIMIT,
    "57": Fault.LOST,
    "58": Fault.OTHER,
    "F0": Fault.OTHER,
    "P0": Fault.OTHER,
    "XX": Fault.OTHER,
}
# libpq tells only a sentence about a connection that was never made. The first match decides. What a server says in
# another language than English (its lc_messages) matches none, and libpq keeps the SQLSTATE to itself.
_BY_SENTENCE = (
    (r"closed the connection|closed unexpectedly|EOF detected|reset by peer|Broken pipe", Fault.LOST),
    (r"pg_hba\.conf|password|role .* (does not exist|is not permitted)|\bno PostgreSQL user name", Fault.AUTH),
    (r"database .* does not exist|database .* is not (currently )?accepting", Fault.SCHEMA),
    (r"too many|remaining connection slots|no more connections|connection limit", Fault.LIMIT),
    (r"session is read-only|hot standby|read-write", Fault.READ_ONLY),
    (r"Connection refused|starting up|shutting down|recovery mode|not yet accepting|No such file", Fault.REFUSED),
    (r"SSL|TLS|certificate|private key", Fault.TLS),
    (r"authentication|permission denied", Fault.AUTH),
    (r"timeout expired|timed out", Fault.TIMEOUT),
    (r"failed: \S+:  ", Fault.OTHER),  # severity and two spaces: the server's own words, so it is there
)


def unavailable(error: psycopg.Error) -> StoreUnavailable | None:
    """Return the port's error for a foreign one, or None when it tells of a bug of ours."""
    fault = _fault(error)
    return None if fault is None else StoreUnavailable(fault, _detail(error))


def never_connected(error: psycopg.Error) -> StoreUnavailable:
    """Return the port's error for a connection that could not be made."""
    if isinstance(error, psycopg.ProgrammingError):  # its text quotes the connection string
        return StoreUnavailable(Fault.OTHER, "the database URL is not a valid connection string")
    sentence = _sentence(error)
    fault = next((fault for pattern, fault in _BY_SENTENCE if re.search(pattern, sentence)), Fault.UNREACHABLE)
    return StoreUnavailable(fault, sentence)


def _fault(error: psycopg.Error) -> Fault | None:
    state = error.sqlstate
    if state is not None:
        return _BY_SQLSTATE.get(state) or _BY_CLASS.get(state[:2])
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Fault.LOST
    return None


def _detail(error: psycopg.Error) -> str:
    primary = error.diag.message_primary
    return f"{error.sqlstate} {primary}"[:DETAIL_CHARS_MAX] if primary else _sentence(error)


def _sentence(error: psycopg.Error) -> str:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return first.removeprefix("connection failed: ").strip()[:DETAIL_CHARS_MAX]
