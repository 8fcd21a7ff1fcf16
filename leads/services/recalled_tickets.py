"""Recall tickets whose owner does not respond in time, and give each to another member of its roster.

Off unless the setting recall_after_minutes says so. A ticket that its owner touched (a response, another
status) or that a person gave to somebody else is never recalled. One transaction for each ticket: it locks
the event that created the ticket, the ticket and the roster, in the order of processing.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from leads.adapters.database import Database, StatementError
from leads.adapters.logs import LOGGER, describe
from leads.domain.errors import Contended
from leads.domain.notifications import Notification, recall_notifications
from leads.runtime import Runtime
from leads.services.cron_work import CronRun
from leads.services.locked_tickets import LockedTicket, lock_ticket
from leads.services.process_record.roster import OwnerRequest, choose_owner, store_roster_statement

MAX_RECALLED_PER_TICK = 50
MAX_TRIED_PER_TICK = 500
"""More than are recalled: tickets that no one else can take must not stop the newer ones."""


@dataclass(frozen=True, slots=True)
class _RecallableEvent:
    """A row of recalled_tickets/list_events."""

    id: int


async def recall_tickets(runtime: Runtime, run: CronRun) -> dict[str, object]:
    """Recall what is due, notify both owners of each; return what the run reports of it.

    The notifications for which no time is left are sent by the step of retry_failed that follows.
    Raises DatabaseUnavailable.
    """
    due = {"now": run.now, "limit": MAX_TRIED_PER_TICK}
    listed = await runtime.db.fetch_all("recalled_tickets/list_events", due, _RecallableEvent)
    recalled: list[int] = []
    failed: list[tuple[int, Exception]] = []
    for event in listed:
        if len(recalled) == MAX_RECALLED_PER_TICK or run.seconds_left() <= 0:
            break
        try:
            if await _recall(runtime.db, event.id, run.now):
                recalled.append(event.id)
        except (Contended, StatementError) as error:
            failed.append((event.id, error))
    if failed:
        first_id, first_error = failed[0]
        fields = {"count": len(failed), "first_event_id": first_id, **describe(first_error)}
        LOGGER.warning("tickets not recalled", extra={"fields": fields})
    if recalled:
        await runtime.outbox.claim_and_send(recalled, has_time=run.has_time_to_send)
    return {"recalled": len(recalled)}


async def _recall(db: Database, event_id: int, now: datetime) -> bool:
    """Give an event's ticket to another member and commit; False if it stays where it is.

    It stays if it is not to be recalled any more, or if no one else can take it; then no counter changes.
    Raises Contended, StatementError.
    """
    async with db.transaction() as transaction:
        ticket = await lock_ticket(transaction, event_id, now, is_recall=True)
        if ticket is None or ticket.owner is None:
            return False
        had_it = frozenset({ticket.owner, *ticket.former_owners})
        asked = OwnerRequest(ticket.roster_source_id, ticket.account_id, now, not_again=had_it)
        choice = await choose_owner(transaction, asked)
        if choice.staff_id is None:
            return False
        change = {"owner": choice.staff_id, "former_owner": ticket.owner, "now": now}
        stored = {
            "id": event_id,
            "assignment": json.dumps(choice.evidence()),
            "notifications": json.dumps(
                _notifications(ticket, ticket.owner, choice.staff_id), ensure_ascii=False
            ),
        }
        await transaction.run(
            ticket.set_owner_statement(choice.staff_id, now),
            store_roster_statement(choice, now),
            ("recalled_tickets/store_choice", change | stored),
            commit=True,
        )
    return True


def _notifications(ticket: LockedTicket, former_owner: str, owner: str) -> list[Notification]:
    number = len(ticket.former_owners) + 1
    return recall_notifications(former_owner, owner, ticket.data(), number, ticket.replay_count)
