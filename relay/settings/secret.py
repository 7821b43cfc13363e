"""A secret that is read anew at every call, so that a rotated file is used at the next connect."""

from collections.abc import Callable
from pathlib import Path

Check = Callable[[str], list[str]]
"""What is wrong with a value, in words that never repeat the value."""


class Secret:
    """A callable that gives the secret; nothing else of it gives the value away.

    Calling it raises OSError when its file cannot be read, and ValueError when what it holds cannot be used; both
    texts name the setting or the file, never the value.
    """

    __slots__ = ("_check", "_value", "name", "path")

    def __init__(self, name: str, *, value: str | None = None, path: Path | None = None, check: Check) -> None:
        self.name = name
        self.path = path
        self._value = value
        self._check = check

    def __call__(self) -> str:
        """Return the secret as it is now."""
        value = self._read()
        problems = self._check(value)
        if problems:
            raise ValueError(f"{self.source}: {problems[0]}")
        return value

    def __repr__(self) -> str:
        return f"Secret({self.source})"

    @property
    def source(self) -> str:
        """The variable that says where the secret is."""
        return self.name if self.path is None else f"{self.name}_FILE"

    def problems(self) -> list[str]:
        """Return everything that is wrong with it now, the file included."""
        try:
            return self._check(self._read())
        except OSError as error:
            return [f"the file {self.path} cannot be read: {error.strerror or type(error).__name__}"]
        except ValueError as error:
            return [str(error)]

    def _read(self) -> str:
        if self.path is None:
            return self._value or ""
        try:
            text = self.path.read_bytes().decode()
        except UnicodeDecodeError:
            # Its own text and attributes carry the bytes.
            raise ValueError(f"the file {self.path} is not UTF-8 text") from None
        return text.removesuffix("\n").removesuffix("\r")
