"""Which errors are an operator's to mend, what they say, and the exit code they end in."""

import errno
from dataclasses import dataclass

DONE, FAILURE, USAGE, PROBLEMS, UNREACHABLE = 0, 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Exit:
    """A last word and a code."""

    text: str
    code: int


def exit_for(error: Exception) -> Exit | None:
    """Return how to leave on an error that has a cause outside the program; None for a bug, which may show itself."""
    from relay.migrate import MigrationError
    from relay.model import Fault
    from relay.ports import StoreUnavailable
    from relay.settings import SettingsError

    if isinstance(error, SettingsError):
        lines = "\n".join(f"  {problem}" for problem in error.problems)
        return Exit(f"The configuration cannot be used:\n{lines}\n`relay config` lists every setting.", USAGE)
    if isinstance(error, StoreUnavailable):
        wrong = error.fault in {Fault.SCHEMA, Fault.PERMISSION}
        return Exit(f"database: {error}", FAILURE if wrong else UNREACHABLE)
    if isinstance(error, MigrationError):
        return Exit(str(error), FAILURE)
    if isinstance(error, BrokenPipeError) or (isinstance(error, OSError) and error.errno == errno.EPIPE):
        return Exit("", FAILURE)
    return None
