"""The journals: what a process saw with its own eyes, one line a fact, in a file nobody else writes.

The verdict believes these files and not the outbox table, because the table is what the relay works on.
"""

import contextlib
import hashlib
import json
import os
from enum import StrEnum
from pathlib import Path


class Fact(StrEnum):
    """The first word of a line, and the words after it."""

    READY = "ready"
    """The process can do its work."""
    TRIED = "tried"
    """Message id, transaction id, digest: everything is written, COMMIT or ROLLBACK comes next."""
    COMMITTED = "committed"
    """Message id: the database said so."""
    ROLLED_BACK = "rolled-back"
    """Message id."""
    ARRIVED = "arrived"
    """Message id, digest, `first` or `redelivered` (the broker's own flag); written before the message is acked."""


def digest(body: bytes) -> str:
    """Name a JSON document by what it says: jsonb keeps the content and not the spaces."""
    with contextlib.suppress(ValueError):  # not a document of the shop's: its bytes name it
        body = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(body).hexdigest()[:32]


class Journal:
    """Appends lines. Each is one write, so that a SIGKILL leaves whole lines only."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, fact: Fact, *words: str) -> None:
        """Write a line."""
        os.write(self._file, f"{' '.join((fact, *words))}\n".encode())


class Reader:
    """Reads on in a journal that another process writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> list[tuple[Fact, list[str]]]:
        """Return the facts since the last call; a line still being written waits for the next one."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, end, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(end)
        lines = [line.split(" ") for line in whole.decode().splitlines()]
        return [(Fact(first), rest) for first, *rest in lines]
