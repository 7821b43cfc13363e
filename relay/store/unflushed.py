"""Rows marked sent by commits that may not be on disk yet."""

from collections.abc import Sequence


class Unflushed:
    """Keeps the ids until a later commit is known to be on disk: the write-ahead log is written in order.

    `sent` is committed without waiting for the disk, so a crash of Postgres may undo it. Marked again after the
    crash, a confirmed row is not published again. There are at most a few batches of ids.
    """

    def __init__(self) -> None:
        self._batches: dict[int, Sequence[int]] = {}
        self._number = 0

    def add(self, row_ids: Sequence[int]) -> None:
        """Note rows whose mark was just committed."""
        self._number += 1
        self._batches[self._number] = row_ids

    def bookmark(self) -> int:
        """Return a place in the order of commits, for `forget`."""
        return self._number

    def forget(self, bookmark: int) -> None:
        """Forget what was committed before that place: a commit that began after it is on disk."""
        self._batches = {number: ids for number, ids in self._batches.items() if number > bookmark}

    def ids(self) -> list[int]:
        """Return the rows, in order of id."""
        return sorted(row_id for ids in self._batches.values() for row_id in ids)
