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
    from relay.app import back_by_itself
    from relay.migrate import MigrationError, UnknownOptIn
    from relay.ports import StoreUnavailable
    from relay.settings import SettingsError

    match error:
        case SettingsError(problems=problems):
            lines = "\n".join(f"  {problem}" for problem in problems)
            text = f"The configuration cannot be used:\n{lines}\n`relay config --reference` lists every setting."
            return Exit(text, USAGE)
        case StoreUnavailable(fault=fault, detail=detail):
            return Exit(f"database: {error}", UNREACHABLE if back_by_itself(fault, detail) else FAILURE)
        case MigrationError():
            return Exit(str(error), USAGE if isinstance(error, UnknownOptIn) else FAILURE)
        case OSError(errno=errno.EPIPE):
            return Exit("", FAILURE)
        case OSError():
            return Exit(str(error), FAILURE)
        case _:
            return None
