"""Give open tickets another owner, later than at processing: one without an owner, or whose owner is silent.

Tickets that were created without an owner are assigned as soon as a member of their roster is available.
Tickets whose owner does not respond in time are recalled and given to another member, unless the owner
touched them (a response, another status) or a person gave them to somebody else; the setting
recall_after_minutes turns this on. Owners are told of the tickets of old leads in one notice for all.

One transaction for each ticket: it locks the event that created the ticket, the ticket and the roster, in the
order of processing; it chooses, and writes owner, counters, evidence and notifications together.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from leads.adapters.database import Database, Row, StatementError
from leads.adapters.logs import LOGGER, describe
from leads.domain.assign import Choice
from leads.domain.errors import Contended
from leads.domain.notifications import Notification, new_lead_notification, recall_notifications
from leads.services.cron_work import CronRun, StepReport
from leads.services.outbox import SEND_LEASE, Outbox
from leads.services.process_record import choose_owner, store_roster_statement

MAX_GIVEN_PER_TICK = 50
"""Of each kind, so that the first person on duty does not get all leads of the night."""
MAX_TRIED_PER_TICK = 500
"""More than are given: tickets that no member can take, or that Diva's database refuses to change, must not
stop the newer ones.
"""
MAX_SETTLED_PER_TICK = 1000


@dataclass(frozen=True, slots=True)
class UnassignedTickets:
    """The row of late_owners/count_unassigned."""

    tickets: int
    oldest_at: datetime | None


async def assign_tickets(db: Database, outbox: Outbox, run: CronRun) -> StepReport:
    """Assign what can be assigned, notify the owners; return what the run reports of it.

    The notifications for which no time is left are sent by the step of retry_failed that follows.
    Raises DatabaseUnavailable.
    """
    settled = await db.fetch_all("late_owners/mark_settled", {"now": run.now, "limit": MAX_SETTLED_PER_TICK})
    listed = await db.fetch_all("late_owners/list_assignable", {"now": run.now, "limit": MAX_TRIED_PER_TICK})
    kept: Counter[str] = Counter()
    assigned = await _give(db, run, listed, kept, is_recall=False)
    await outbox.claim_and_send(assigned, has_time=run.has_time_to_send)
    (left,) = await db.fetch_all("late_owners/count_unassigned", {"most": None}, UnassignedTickets)
    oldest = left.oldest_at
    report: StepReport = {
        "assigned": len(assigned),
        "settled_in_diva": len(settled),
        "unassigned": left.tickets,
        "oldest_unassigned_seconds": int((run.now - oldest).total_seconds()) if oldest else None,
    }
    if len(listed) > 1 and assigned:
        (last,) = await db.fetch_all("late_owners/load_last_shared", {"now": run.now})
        if last["until"] is None or listed[0]["created_at"] > last["until"]:
            shared = {"assigned": len(assigned), "waiting": left.tickets, "kept": kept.total()}
            report["shared"] = {**shared, "until": run.now.isoformat()}
    return report


async def recall_tickets(db: Database, outbox: Outbox, run: CronRun) -> StepReport:
    """Recall what is due, notify both owners of each; the rest as assign_tickets."""
    due = {"limit": MAX_TRIED_PER_TICK, "now": run.now}
    listed = await db.fetch_all("late_owners/list_recallable", due)
    recalled = await _give(db, run, listed, Counter(), is_recall=True)
    await outbox.claim_and_send(recalled, has_time=run.has_time_to_send)
    return {"recalled": len(recalled)}


async def tell_of_old_leads(db: Database, outbox: Outbox, run: CronRun) -> StepReport:
    """Tell owners of the tickets that old leads made, each in one notification, once business hours began."""
    told = await db.fetch_all("late_owners/store_summaries", {"now": run.now, "lease": SEND_LEASE})
    await outbox.claim_and_send([row["id"] for row in told], has_time=run.has_time_to_send)
    return {"told_of_old_leads": len(told)} if told else {}


async def _give(
    db: Database, run: CronRun, listed: Sequence[Row], kept: Counter[str], *, is_recall: bool
) -> list[int]:
    """Give tickets to others, oldest first, while there is time; return the ids of their events.

    `kept` counts the tickets that are kept for awaited members, by assignee id.
    """
    given: list[int] = []
    without_member: set[str | None] = set()
    failed: list[tuple[int, Exception]] = []
    for event in listed:
        if len(given) == MAX_GIVEN_PER_TICK or run.seconds_left() <= 0:
            break
        id_, roster = event["id"], event.get("roster_source_id")
        if roster in without_member:
            continue
        try:
            choice = await _give_one(db, id_, run.now, kept, is_recall=is_recall)
        except (Contended, StatementError) as error:
            failed.append((id_, error))
            continue
        if choice and choice.staff_id:
            given.append(id_)
        elif choice and choice.kept_for:
            kept[choice.kept_for.assignee_id] += 1
        elif choice and not is_recall:  # those who may take a recalled ticket differ from ticket to ticket
            without_member.add(roster)
    if failed:
        first_id, first_error = failed[0]
        fields = {"count": len(failed), "first_event_id": first_id, **describe(first_error)}
        message = "tickets not recalled" if is_recall else "tickets not assigned"
        LOGGER.warning(message, extra={"fields": fields})
    return given


async def _give_one(
    db: Database, event_id: int, now: datetime, kept: Mapping[str, int], *, is_recall: bool
) -> Choice | None:
    """Choose the owner of an event's ticket and commit; None if the ticket is to stay as it is.

    A ticket that is kept for an awaited member stays without an owner. Raises Contended, StatementError.
    """
    async with db.transaction() as transaction:
        params = {"id": event_id, "lease": SEND_LEASE, "now": now, "is_recall": is_recall}
        (rows,) = await transaction.run(("late_owners/lock_ticket", params))
        if not rows:
            return None
        ticket = _LockedTicket(**rows[0])
        had_it = frozenset({ticket.owner, *ticket.former_owners} if ticket.owner else ())
        choice = await choose_owner(
            transaction,
            ticket.roster_source_id,
            ticket.account_id,
            now,
            not_again=had_it,
            shares=None if is_recall else kept,
        )
        if (awaited := choice.kept_for) and not awaited.holds_share:
            share = {"id": awaited.assignee_id, "now": now}
            await transaction.run(
                store_roster_statement(choice, now), ("late_owners/keep_share", share), commit=True
            )
        if choice.staff_id:
            change = {"owner": choice.staff_id, "former_owner": ticket.owner, "now": now}
            stored = {
                "id": event_id,
                "assignment": json.dumps(choice.evidence()),
                "notifications": json.dumps(ticket.notifications(choice.staff_id), ensure_ascii=False),
            }
            store = "late_owners/store_recall" if is_recall else "late_owners/store_assignment"
            await transaction.run(
                ("late_owners/set_owner", {"ticket_id": ticket.ticket_id, **change}),
                store_roster_statement(choice, now),
                (store, change | stored),
                commit=True,
            )
    return choice


@dataclass(frozen=True, slots=True)
class _LockedTicket:
    """The row of late_owners/lock_ticket: a ticket without an owner, or one to recall.

    `former_owners` lost it by earlier recalls.
    """

    ticket_id: str
    account_id: str | None
    owner: str | None
    former_owners: Sequence[str]
    customer_name: str
    phone: str
    replay_count: int
    roster_source_id: str | None
    is_told_later: bool

    def notifications(self, owner: str) -> list[Notification]:
        """Return those of the change to another owner."""
        if self.owner is None and self.is_told_later:
            return []
        data = {"ticket_id": self.ticket_id, "customer_name": self.customer_name, "phone": self.phone}
        if self.owner is None:
            return [new_lead_notification(owner, data, self.replay_count)]
        number = len(self.former_owners) + 1
        return recall_notifications(self.owner, owner, data, number, self.replay_count)
