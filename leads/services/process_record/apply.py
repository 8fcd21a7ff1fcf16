"""Apply a plan: the statements that write it, with their parameters."""

import json
from datetime import datetime

from leads.adapters.database import Params, Statement, Transaction
from leads.domain.assign import Choice
from leads.domain.phone import national_parts
from leads.domain.ticket_text import ticket_description, ticket_title
from leads.services.outbox import UnsentEvent
from leads.services.process_record.claim import Claim
from leads.services.process_record.plan import PlannedEvent


async def apply_plan(transaction: Transaction, planned: PlannedEvent, now: datetime) -> UnsentEvent:
    """Write the plan and commit in one round trip; return the notifications to send. Raises Contended."""
    rows = await transaction.run(*plan_statements(planned, now), commit=True)
    ((finished,),) = rows[-1:]
    return UnsentEvent(
        id=planned.claim.id,
        notifications=planned.claim.unsent + planned.notifications,
        notify_claimed_at=finished["notify_claimed_at"],
    )


async def hold_event(transaction: Transaction, claim: Claim, status: str) -> None:
    """Give a claimed event the skipped status of its switch, and commit."""
    hold: Statement = ("process_record/hold_event", {"id": claim.id, "status": status})
    await transaction.run(hold, commit=True)


def plan_statements(planned: PlannedEvent, now: datetime) -> list[Statement]:
    """Return the statements of a plan, in the order of the foreign keys between their tables."""
    plan, choice = planned.plan, planned.choice
    statements: list[Statement] = []
    if plan.writes_customer:
        customer = customer_params(planned, now)
        if plan.account_is_new:
            statements.append(("process_record/insert_account", customer))
        else:
            statements.append(("process_record/touch_account", customer))
        if plan.records_consent:
            statements.append(("process_record/insert_consent", customer))
        statements.append(("process_record/upsert_contact", customer))
        if plan.ticket_is_new:
            statements.append(("process_record/insert_ticket", ticket_params(planned, now)))
        elif plan.ticket:
            statements.append(("process_record/update_ticket", ticket_params(planned, now)))
    if choice and choice.changed():
        statements.append(("process_record/store_roster", roster_params(choice)))
    statements.append(("process_record/finish_event", event_params(planned, now)))
    return statements


def customer_params(planned: PlannedEvent, now: datetime) -> Params:
    """Parameters of insert_account, touch_account, insert_consent and upsert_contact."""
    lead, plan = planned.lead, planned.plan
    phone_code, national = national_parts(plan.phone)
    return {
        "account_id": plan.account_id,
        "account_phone": plan.account_phone,
        "phone": plan.phone,
        "phone_code": phone_code,
        "phone_number": national,
        "display_name": lead.name or plan.phone,
        "name": lead.name,
        "email": lead.email,
        "address": lead.address,
        "metadata": _json(lead.metadata()),
        "now": now,
    }


def ticket_params(planned: PlannedEvent, now: datetime) -> Params:
    """Parameters of insert_ticket and update_ticket."""
    lead, plan = planned.lead, planned.plan
    return {
        "ticket_id": plan.ticket.id if plan.ticket else None,
        "account_id": plan.account_id,
        "phone": plan.phone,
        "assignee_id": planned.choice.staff_id if planned.choice else None,
        "title": ticket_title(lead, plan.phone),
        "description": ticket_description(lead, planned.phones),
        "data": _json({"pancake": lead.metadata()}),
        "now": now,
    }


def roster_params(choice: Choice) -> Params:
    """Parameters of store_roster: the members whose counters a choice changed."""
    members = choice.changed()
    return {
        "chosen": choice.chosen.assignee_id if choice.chosen else None,
        "assignee_ids": [member.assignee_id for member in members],
        "assigned_counts": [member.assigned_count for member in members],
        "last_assigned_seqs": [member.last_assigned_seq for member in members],
        "was_available": [member.was_available for member in members],
    }


def event_params(planned: PlannedEvent, now: datetime) -> Params:
    """Parameters of finish_event."""
    plan, choice = planned.plan, planned.choice
    evidence: dict[str, object] = {
        "digests": planned.lead.digests(),
        "result": plan.outcome,  # also of a replay that changes nothing and keeps the row's outcome
        **plan.evidence,
    }
    if choice:
        evidence["assignment"] = choice.evidence()
    return {
        "id": planned.claim.id,
        "outcome": plan.outcome,
        "changes": plan.writes_customer,
        "phone": plan.phone,
        "account_id": plan.account_id,
        "ticket_id": plan.ticket.id if plan.ticket else None,
        "assignee_id": planned.owner,
        "evidence": _json(evidence),
        "notifications": _json(planned.notifications),
        "now": now,
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
