"""How many rows a claim asks for: fewer after one that could not be served, until they go through again. Pure."""

CUT = 8
"""A claim that ran into its timeout is tried with that many times fewer rows."""


class Portion:
    """The size of the next claim."""

    def __init__(self) -> None:
        self._rows_max: int | None = None

    def of(self, limit: int) -> int:
        """Return how many rows to ask for when up to `limit` are wanted."""
        return limit if self._rows_max is None else min(limit, self._rows_max)

    def failed(self, asked: int) -> None:
        """Ask for far fewer."""
        self._rows_max = max(1, asked // CUT)

    def came(self, asked: int, limit: int, *, taken: int, candidates: int) -> None:
        """Ask for fewer rows while large ones fill the byte limit: the rest would be locked and read for nothing."""
        if taken < candidates:
            self._rows_max = max(1, 2 * taken)
        elif self._rows_max is not None and candidates == asked:
            self._rows_max = None if 2 * asked >= limit else 2 * asked
