"""What really became of each publish, seen from above; it speaks up when a message is repeated without a cause."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

from relay.model import Answer, Confirmed, Refused


class Process(Protocol):
    """Who publishes."""

    name: str
    dead: bool
    was_frozen: bool


@dataclass(slots=True)
class Write:
    """One message handed to a connection."""

    by: Process
    state: Literal["open", "confirmed", "refused", "doubt"] = "open"


class Witness:
    """Every publish of every row."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._story: list[tuple[float, int | None, str]] = []
        self.writes: defaultdict[int, list[Write]] = defaultdict(list)
        self.wrong: list[str] = []
        """Promises that were seen to be broken."""
        self.happened: Counter[str] = Counter()
        """What the world did, by name."""
        self.holders: dict[UUID, Process] = {}
        """Who claimed under which token."""
        self.ran_out: defaultdict[int, list[bool]] = defaultdict(list)
        """For each lease of the row that ran out before another was given: whether a process was to blame, which was
        killed or stopped."""

    def note(self, text: str, row_id: int | None = None) -> None:
        """Remember what happened, to a row or to all."""
        self._story.append((self._now(), row_id, text))

    def story(self, row_id: int) -> list[str]:
        """Return the life of a row, and what happened around it."""
        mine = [at for at, whose, _ in self._story if whose == row_id]
        around = (
            each for each in self._story if each[1] == row_id or (each[1] is None and mine[0] <= each[0] <= mine[-1])
        )
        return [f"{at:12.4f} {text}" for at, _, text in around] if mine else []

    def story_of_all(self) -> str:
        """Return all that happened: the same in every run of a seed."""
        return "\n".join(f"{at:.6f} {row_id} {text}" for at, row_id, text in self._story)

    def leased(self, row_id: int, token: UUID, *, before: UUID | None) -> None:
        """A row is claimed; `before`: somebody held it, and his lease ran out."""
        self.note(f"claimed by {self.holders[token].name}", row_id)
        if before is not None:
            holder = self.holders[before]
            self.ran_out[row_id].append(holder.dead or holder.was_frozen)
            self.happened["lease of a dead relay ran out" if holder.dead else "lease of a living relay ran out"] += 1

    def wrote(self, by: Process, row_id: int, *, repeated: bool) -> None:
        """A message is handed to a connection; `repeated`: it says that it may have come before."""
        earlier = self.writes[row_id]
        self.note(f"published by {by.name}", row_id)
        for write in earlier:
            if write.state not in {"open", "confirmed"} or write.by.dead:
                continue
            if not self.ran_out[row_id]:
                self.wrong.append(f"row {row_id} was published twice under one lease")
            elif write.by is by and not by.was_frozen:
                self.wrong.append(f"row {row_id} was published again, though {write.state} to the same relay")
        if not (repeated or by.was_frozen) and any(write.state != "refused" for write in earlier):
            self.wrong.append(f"row {row_id} was published again without saying so")
        earlier.append(Write(by))

    def heard(self, by: Process, answers: Sequence[Answer]) -> None:
        """Answers reach the engine."""
        for answer in answers:
            self.note(f"{by.name} hears {answer.outcome}", answer.row_id)
            mine = [write for write in self.writes[answer.row_id] if write.by is by]
            # Two of them are open when a process was stopped until its lease ran out, and then took the row once more.
            write = next((write for write in mine if write.state == "open"), mine[-1])
            match answer.outcome:
                case Confirmed():
                    write.state = "confirmed"
                case Refused():
                    write.state = "refused"
                case _:
                    write.state = "doubt"

    def excuses(self, row_id: int) -> int:
        """How many of its publishes may each be one too many: nobody who lives on knows of them."""
        return sum(write.state != "refused" for write in self.writes[row_id])

    def confirmed_to(self, by: Process) -> int:
        """How many confirms a relay heard."""
        return sum(write.by is by and write.state == "confirmed" for writes in self.writes.values() for write in writes)
