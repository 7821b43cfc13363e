"""The outbox of a simulation: a table that tells what happens to its rows."""

from uuid import UUID

from relay.model import Mark, Row
from tests.doubles.table import Table
from tests.simulation.witness import Witness


class WatchedTable(Table):
    """Tells the witness of every lease, mark and crash."""

    witness: Witness

    def take(self, row_id: int, token: UUID) -> Row:
        """Lease the row."""
        stored = self.rows[row_id]
        self.witness.leased(row_id, token, before=stored.token if stored.claimed_until is not None else None)
        return super().take(row_id, token)

    def mark(self, mark: Mark, token: UUID) -> bool:
        """Write one mark."""
        changed = super().mark(mark, token)
        self.witness.note(f"{mark} {'was written' if changed else 'changed nothing'}", mark.row_id)
        return changed

    def crash(self) -> int:
        """Lose what was not on disk yet."""
        lost = super().crash()
        self.witness.note(f"the database crashed and lost {lost} commits")
        self.witness.happened["commits lost by a crash"] += lost
        return lost
