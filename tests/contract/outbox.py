"""What a test may do to an outbox, whichever store is under it."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from relay.ports import Store

LEASE_S = 60.0
SLOW_S = 0.3
"""How long a claim takes that is to be slow."""
BODY = '{"n": 1}'

Work = Coroutine[Any, Any, object]


class Seen(NamedTuple):
    """What anybody may see of a row."""

    status: str
    claims: int
    failures: int
    leased: bool
    note: str | None


class Outbox(Protocol):
    """A table, a relay's store on it, and all that a test does to them."""

    @property
    def store(self) -> Store:
        """The store under test."""
        ...

    def now(self) -> float:
        """The store's local clock."""
        ...

    async def another(self) -> Store:
        """The store of another relay on the same table."""
        ...

    async def reserve(self) -> int:
        """The id of a row that is written and will be committed later."""
        ...

    async def commit(
        self,
        *,
        n: int = 1,
        id: int | None = None,  # noqa: A002 - the column's name
        payload: str = BODY,
        headers: str = "{}",
        delay_s: float = 0.0,
        age_s: float = 0.0,
        key: str | None = None,
    ) -> list[int]:
        """Commit rows created `age_s` seconds ago and due in `delay_s`; their ids. Texts as jsonb would spell them."""
        ...

    async def delete(self, row_id: int) -> None:
        """Delete a row, as an operator may."""
        ...

    async def see(self, row_id: int) -> Seen:
        """Look at a row."""
        ...

    async def pass_time(self, seconds: float) -> None:
        """Let time pass for the table, at once."""
        ...

    async def cut(self) -> None:
        """Take the database away."""
        ...

    async def heal(self) -> None:
        """Bring it back."""
        ...

    async def unheard(self, op: str, work: Work) -> None:
        """Let the work be committed and its reply be lost; StoreUnavailable is what it raises."""
        ...

    async def halfway(self, settle: Work) -> None:
        """Lose the database between the two transactions of a settle; StoreUnavailable is what it raises."""
        ...

    async def slowly(self, claim: Work) -> tuple[object, float]:
        """Let a claim take SLOW_S seconds or more; what it returned, and when it was let through."""
        ...

    async def cancelled(self, claim: Work) -> None:
        """Cancel a claim on its way."""
        ...


MakeOutbox = Callable[..., Awaitable[Outbox]]
