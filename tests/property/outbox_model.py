"""What an outbox must be after each thing that happens to it, in plain Python."""

from dataclasses import dataclass, field
from itertools import takewhile
from typing import Literal
from uuid import UUID

from relay.decide import SUSPECT_CLAIMS
from relay.model import Failed, Mark, Refusal, Release, Retry, Sent

Kind = Literal["sent", "sent, of another message", "retry now", "retry later", "failed", "release", "release in doubt"]
STRANGE = str(UUID(int=2**127 + 1))


@dataclass
class Known:
    """What the model believes of one row."""

    message_id: str
    status: str = "pending"
    claims: int = 0
    failures: int = 0
    token: UUID | None = None
    held: bool = False
    expired: bool = False
    waits: bool = False
    error: str | None = None
    old: bool = False
    """It has been sent, or failed, for days."""
    free_since: float = 0.0
    """When it last became free, by the clock of whom polls."""

    @property
    def free(self) -> bool:
        """A claim may take it."""
        return self.status == "pending" and not self.waits and (self.expired or not self.held)

    @property
    def suspect(self) -> bool:
        """So many relays died with it in hand."""
        return self.claims - self.failures >= SUSPECT_CLAIMS

    def take(self, token: UUID) -> None:
        """A claim takes it."""
        self.claims, self.token, self.held, self.expired = self.claims + 1, token, True, False

    def mark(self, kind: Kind, token: UUID) -> bool:
        """Take a mark; whether it was ours to write."""
        if kind.startswith("sent"):
            if self.status != "sent" and (kind == "sent" or self.token == token):
                self.status, self.held, self.expired, self.old = "sent", False, False, False
            return True
        if self.token != token or self.status == "sent":
            return False
        if not self.held:  # settled before under the same lease: nothing changes
            return True
        self.held = self.expired = False
        match kind:
            case "failed":
                self.status, self.failures, self.error, self.old = "failed", self.failures + 1, kind, False
            case "retry now" | "retry later":
                self.failures, self.error, self.waits = self.failures + 1, kind, kind == "retry later"
            case _:
                self.claims, self.error = self.claims - 1, self.error if kind == "release" else kind
        return True


def mark_of(kind: Kind, row_id: int, message_id: str) -> Mark:
    """The real mark."""
    match kind:
        case "sent":
            return Sent(row_id, message_id)
        case "sent, of another message":
            return Sent(row_id, STRANGE)
        case "failed":
            return Failed(row_id, Refusal.REJECTED, kind)
        case "retry now" | "retry later":
            return Retry(row_id, Refusal.REJECTED, 0.0 if kind == "retry now" else 3600.0, kind)
        case _:
            return Release(row_id, None if kind == "release" else kind)


@dataclass
class Outbox:
    """All of its rows."""

    rows: dict[int, Known] = field(default_factory=dict)

    def of(self, status: str, *, old: bool = False) -> list[int]:
        """The rows of that status, in order."""
        return [i for i, row in sorted(self.rows.items()) if row.status == status and (row.old or not old)]

    def free(self, low: int = 0) -> list[int]:
        """The rows a claim may take, in order."""
        return [row_id for row_id, row in sorted(self.rows.items()) if row.free and row_id >= low]

    def cut(self, ids: list[int], limit: int) -> list[int]:
        """What a claim takes of the rows it may take: a suspected killer comes alone."""
        taken = list(takewhile(lambda row_id: not self.rows[row_id].suspect, ids[:limit]))
        return taken or ids[: min(limit, 1)]

    def held(self, token: UUID, ids: list[int]) -> list[int]:
        """Those that are still held under that token, in time or not."""
        rows = ((row_id, self.rows.get(row_id)) for row_id in ids)
        return [row_id for row_id, row in rows if row is not None and row.token == token and row.held]

    def give_back(self, token: UUID, *, low: int, seen: int) -> None:
        """A claim of which nobody heard is undone, among the first pending rows from where it began."""
        head = [row_id for row_id in self.of("pending") if row_id >= low][:seen]
        for row_id in self.held(token, head):
            row = self.rows[row_id]
            row.claims, row.held, row.expired = row.claims - 1, False, False
