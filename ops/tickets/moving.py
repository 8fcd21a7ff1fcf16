"""Move tickets from one source to another in batches.

Each moved ticket has its former source in `data.pancake_moved_from`, so that `--back` moves only these and
not the tickets that were in the other source before.
"""

import time
from dataclasses import dataclass

from rich.progress import Progress

from ops.clients.db_session import QUERIES, DbSession

OUR_SOURCE = "ticket_source_pancake"
MAX_STALLED_SECONDS = 30.0
"""The work ends when no ticket could be moved for this time, because other sessions lock the rest."""


@dataclass(frozen=True, slots=True)
class Move:
    """The two ticket sources of a move, and its pace."""

    from_source: str
    to_source: str
    only_marked: bool
    rows_per_batch: int = 1000
    pause_seconds: float = 0.1

    @classmethod
    def between(cls, other: str, *, back: bool, rows_per_batch: int, pause_seconds: float) -> "Move":
        """Make a move from our source to another one, or back from there."""
        if back:
            return cls(other, OUR_SOURCE, True, rows_per_batch, pause_seconds)
        return cls(OUR_SOURCE, other, False, rows_per_batch, pause_seconds)


def count_tickets(db: DbSession, move: Move) -> int:
    params = {"from_source": move.from_source, "only_marked": move.only_marked}
    row = db.execute(QUERIES["tickets/count_tickets"], params).fetchone()
    return int(row["waiting"]) if row else 0


def move_tickets(db: DbSession, move: Move, progress: Progress) -> int:
    """Move all tickets; return how many are left after MAX_STALLED_SECONDS without progress."""
    params = {
        "from_source": move.from_source,
        "to_source": move.to_source,
        "only_marked": move.only_marked,
        "limit": move.rows_per_batch,
    }
    last_moved = time.monotonic()
    with progress:
        task = progress.add_task("moving tickets", total=count_tickets(db, move))
        while time.monotonic() - last_moved < MAX_STALLED_SECONDS:
            row = db.execute(QUERIES["tickets/update_tickets"], params).fetchone()
            moved = row["moved"] if row else 0
            progress.advance(task, moved)
            if moved:
                last_moved = time.monotonic()
            elif count_tickets(db, move) == 0:
                break
            time.sleep(move.pause_seconds)
    return count_tickets(db, move)
