"""Count the unassigned tickets, for the cron that assigns them, for metrics and for `leads status`."""

from dataclasses import dataclass
from datetime import datetime

from leads.adapters.database import Database

COUNT_TICKETS = "unassigned_count/count_tickets"
"""The statement of UnassignedTickets; its parameter `most` limits what is counted."""


@dataclass(frozen=True, slots=True)
class UnassignedTickets:
    """The open tickets of our events that have no owner; `oldest_at` is None if there are none."""

    tickets: int
    oldest_at: datetime | None


async def count_unassigned(db: Database) -> UnassignedTickets:
    """Count all unassigned tickets and find the oldest. Raises DatabaseUnavailable."""
    (row,) = await db.fetch_all(COUNT_TICKETS, {"most": None}, UnassignedTickets)
    return row
