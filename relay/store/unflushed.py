"""Rows marked sent by commits that may not be on disk yet."""

from collections.abc import Sequence
from operator import attrgetter

from relay.model import Sent


class Unflushed:
    """Keeps the marks until a later commit is known to be on disk: the write-ahead log is written in order.

    `sent` is committed without waiting for the disk, so a crash of Postgres may undo it. Marked again after the
    crash, a confirmed row is not published again. There are at most a few batches.
    """

    def __init__(self) -> None:
        self._batches: dict[int, Sequence[Sent]] = {}
        self._number = 0

    def add(self, marks: Sequence[Sent]) -> None:
        """Note marks just committed."""
        self._number += 1
        self._batches[self._number] = marks

    def bookmark(self) -> int:
        """Return a place in the order of commits, for `forget`."""
        return self._number

    def forget(self, bookmark: int) -> None:
        """Forget what was committed before that place: a commit that began after it is on disk."""
        self._batches = {number: marks for number, marks in self._batches.items() if number > bookmark}

    def marks(self) -> list[Sent]:
        """Return them in order of id."""
        return sorted((mark for marks in self._batches.values() for mark in marks), key=attrgetter("row_id"))
