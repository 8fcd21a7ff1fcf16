"""Assign tickets that were created without an owner, as soon as a member of their roster is available.

One transaction for each ticket: it locks the event that created the ticket, the ticket and the roster, in the
order of processing; it chooses, and writes owner, counters, evidence and the owner's notification together.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from leads.adapters.database import Database, StatementError
from leads.adapters.logs import LOGGER, describe
from leads.domain.assign import Choice
from leads.domain.errors import Contended
from leads.domain.notifications import Notification, new_lead_notification
from leads.runtime import Runtime
from leads.services.cron_work import CronRun
from leads.services.locked_tickets import LockedTicket, lock_ticket
from leads.services.process_record.roster import OwnerRequest, choose_owner, store_roster_statement
from leads.services.unassigned_count import count_unassigned

MAX_ASSIGNED_PER_TICK = 50
"""The member who comes on duty first must not get all leads of the night before the others have come."""
MAX_TRIED_PER_TICK = 500
"""More than are assigned: tickets that Diva's database refuses to change must not stop the newer ones."""
MAX_SETTLED_PER_TICK = 1000


@dataclass(frozen=True, slots=True)
class _AssignableEvent:
    """A row of unassigned_tickets/list_events."""

    id: int
    roster_source_id: str | None


async def assign_tickets(runtime: Runtime, run: CronRun) -> dict[str, object]:
    """Assign what can be assigned, notify the owners; return what the run reports of it.

    The notifications for which no time is left are sent by the step of retry_failed that follows.
    Raises DatabaseUnavailable.
    """
    settled = await runtime.db.fetch_all(
        "unassigned_tickets/mark_settled", {"now": run.now, "limit": MAX_SETTLED_PER_TICK}
    )
    assigned = await _assign_listed(runtime.db, run)
    if assigned:
        await runtime.outbox.claim_and_send(assigned, has_time=run.has_time_to_send)
    left = await count_unassigned(runtime.db)
    oldest = left.oldest_at
    return {
        "assigned": len(assigned),
        "settled_in_diva": len(settled),
        "unassigned": left.tickets,
        "oldest_unassigned_seconds": int((run.now - oldest).total_seconds()) if oldest else None,
    }


async def _assign_listed(db: Database, run: CronRun) -> list[int]:
    """Assign tickets, oldest first, while there is time; return the ids of their events."""
    listed = await db.fetch_all(
        "unassigned_tickets/list_events", {"limit": MAX_TRIED_PER_TICK, "now": run.now}, _AssignableEvent
    )
    assigned: list[int] = []
    without_member: set[str | None] = set()
    failed: list[tuple[int, Exception]] = []
    for event in listed:
        if len(assigned) == MAX_ASSIGNED_PER_TICK or run.seconds_left() <= 0:
            break
        if event.roster_source_id in without_member:
            continue
        try:
            choice = await _assign(db, event.id, run.now)
        except (Contended, StatementError) as error:
            failed.append((event.id, error))
            continue
        if choice and choice.staff_id:
            assigned.append(event.id)
        elif choice:
            without_member.add(event.roster_source_id)
    _log_failed(failed)
    return assigned


async def _assign(db: Database, event_id: int, now: datetime) -> Choice | None:
    """Choose the owner of an event's ticket and commit; None if the ticket is not to be assigned any more.

    A choice without a member changes nothing. Raises Contended, StatementError.
    """
    async with db.transaction() as transaction:
        ticket = await lock_ticket(transaction, event_id, now, is_recall=False)
        if ticket is None:
            return None
        asked = OwnerRequest(ticket.roster_source_id, ticket.account_id, now)
        choice = await choose_owner(transaction, asked)
        if choice.staff_id:
            stored = {
                "id": event_id,
                "owner": choice.staff_id,
                "now": now,
                "assignment": json.dumps(choice.evidence()),
                "notifications": json.dumps([_notification(ticket, choice.staff_id)], ensure_ascii=False),
            }
            await transaction.run(
                ticket.set_owner_statement(choice.staff_id, now),
                store_roster_statement(choice, now),
                ("unassigned_tickets/store_choice", stored),
                commit=True,
            )
    return choice


def _notification(ticket: LockedTicket, owner: str) -> Notification:
    return new_lead_notification(owner, ticket.data(), ticket.replay_count)


def _log_failed(failed: Sequence[tuple[int, Exception]]) -> None:
    if failed:
        event_id, error = failed[0]
        fields = {"count": len(failed), "first_event_id": event_id, **describe(error)}
        LOGGER.warning("tickets not assigned", extra={"fields": fields})
