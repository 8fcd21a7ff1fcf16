"""A ticket that is to get another owner, locked with the event that created it.

`recalled_tickets` and `unassigned_tickets` choose the owner and write it in the transaction of the lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from leads.adapters.database import Statement, Transaction
from leads.services.outbox import SEND_LEASE


@dataclass(frozen=True, slots=True)
class LockedTicket:
    """The row of locked_tickets/lock_ticket. `former_owners` lost the ticket by recalls."""

    ticket_id: str
    account_id: str | None
    owner: str | None
    former_owners: Sequence[str]
    customer_name: str
    phone: str
    replay_count: int
    roster_source_id: str | None

    def data(self) -> dict[str, str]:
        """Return the data of a notification about the ticket."""
        return {"ticket_id": self.ticket_id, "customer_name": self.customer_name, "phone": self.phone}

    def set_owner_statement(self, owner: str, now: datetime) -> Statement:
        params = {"ticket_id": self.ticket_id, "owner": owner, "former_owner": self.owner, "now": now}
        return "locked_tickets/set_owner", params


async def lock_ticket(
    transaction: Transaction, event_id: int, now: datetime, *, is_recall: bool
) -> LockedTicket | None:
    """Lock the ticket of an event; None if it is not to be recalled, or assigned, any more."""
    params = {"id": event_id, "lease": SEND_LEASE, "now": now, "is_recall": is_recall}
    (rows,) = await transaction.run(("locked_tickets/lock_ticket", params))
    return LockedTicket(**rows[0]) if rows else None
