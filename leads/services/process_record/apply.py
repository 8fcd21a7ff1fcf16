"""Apply a plan: the statements that write it, with their parameters."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from leads.adapters.database import Params, Statement, Transaction
from leads.domain.canonical_json import JsonValue
from leads.domain.phone import national_parts, read_phones
from leads.domain.ticket_text import WRITTEN, texts_to_write, ticket_texts, written_digests
from leads.services.outbox import UnsentRow
from leads.services.process_record.claim import Claim
from leads.services.process_record.plan import PlannedEvent
from leads.services.process_record.roster import store_roster_statement

_json = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would build an encoder at each call


async def apply_plan(transaction: Transaction, planned: PlannedEvent, now: datetime) -> UnsentRow:
    """Write the plan and commit in one round trip; return the notifications to send. Raises Contended."""
    rows = await transaction.run(*plan_statements(planned, now), commit=True)
    ((finished,),) = rows[-1:]
    return UnsentRow(
        id=planned.claim.id,
        notifications=planned.claim.unsent + planned.notifications,
        notify_claimed_at=finished["notify_claimed_at"],
    )


async def erase_event(transaction: Transaction, claim: Claim) -> None:
    """Empty a claimed event of an erased customer, and commit."""
    await transaction.run(("process_record/clear_event", {"id": claim.id}), commit=True)


async def hold_event(transaction: Transaction, claim: Claim, status: str) -> None:
    """Give a claimed event the skipped status of its switch, and commit."""
    hold: Statement = ("process_record/hold_event", {"id": claim.id, "status": status})
    await transaction.run(hold, commit=True)


def plan_statements(planned: PlannedEvent, now: datetime) -> list[Statement]:
    """Return the statements of a plan, in the order of the foreign keys between their tables."""
    plan, choice = planned.plan, planned.choice
    statements: list[Statement] = []
    if plan.writes_customer:
        statements += _customer_statements(planned, now)
    if plan.writes_ticket:
        name = "process_record/insert_ticket" if plan.ticket_is_new else "process_record/update_ticket"
        statements.append((name, ticket_params(planned, now)))
    if choice and choice.changed():
        statements.append(store_roster_statement(choice, now))
    statements.append(("process_record/finish_event", event_params(planned, now)))
    return statements


def _customer_statements(planned: PlannedEvent, now: datetime) -> list[Statement]:
    plan, customer = planned.plan, customer_params(planned, now)
    statements: list[Statement] = [
        ("process_record/touch_account" if plan.account else "process_record/insert_account", customer)
    ]
    if plan.records_consent:
        statements.append(("process_record/insert_consent", customer))
    statements.append(("process_record/upsert_contact", customer))
    if plan.other_phones:
        other = {**customer, "phones": list(plan.other_phones)}
        statements.append(("process_record/insert_other_contacts", other))
    return statements


def customer_params(planned: PlannedEvent, now: datetime) -> Params:
    """Parameters of the statements that write account, consent and contacts."""
    plan = planned.plan
    lead, account, phone = plan.lead, plan.account, plan.phone or ""
    phone_code, national = national_parts(phone)
    return {
        "account_id": plan.account_id,
        "account_phone": account.phone if account else phone,
        "read_phone_code": account.phone_code if account else None,
        "read_phone_number": account.phone_number if account else None,
        "phone": phone,
        "phone_code": phone_code,
        "phone_number": national,
        "display_name": lead.name or phone,
        "name": lead.name,
        "email": lead.email,
        "address": lead.address,
        "metadata": _json(lead.metadata()),
        "now": now,
    }


def ticket_params(planned: PlannedEvent, now: datetime) -> Params:
    """Parameters of insert_ticket and update_ticket. A text that is None keeps what a person typed."""
    plan = planned.plan
    ticket, phone = plan.ticket, plan.phone or ""
    assert ticket is not None
    fields: dict[str, JsonValue] = {**ticket.fields, **plan.lead.metadata()}
    texts = ticket_texts(fields, phone, _phones_to_show(planned, fields))
    if not plan.ticket_is_new:
        texts = texts_to_write(ticket, texts, plan.lead.digester)
    digests = written_digests(ticket, texts, plan.lead.digester)
    return {
        "ticket_id": ticket.id,
        "account_id": ticket.account_id,
        "moves": plan.moves_ticket,
        "phone": phone,
        "assignee_id": planned.choice.staff_id if planned.choice else None,
        "title": texts.get("title"),
        "description": texts.get("description"),
        "data": _json({"pancake": {**fields, WRITTEN: digests}}),
        "now": now,
    }


def _phones_to_show(planned: PlannedEvent, fields: Mapping[str, JsonValue]) -> Sequence[str]:
    """Return the phones that the version names; without any, those that the ticket holds."""
    held = fields.get("phones")
    if "phones" in planned.plan.lead.named_fields or not isinstance(held, list):
        return planned.phones.usable
    return read_phones(str(text) for text in held).usable or planned.phones.usable


def event_params(planned: PlannedEvent, now: datetime) -> Params:
    """Parameters of finish_event."""
    plan, choice = planned.plan, planned.choice
    evidence: dict[str, object] = {
        **plan.evidence,
        "result": plan.outcome,  # also of a replay that changes nothing and keeps the row's outcome
    }
    if plan.digests is not None:
        evidence["digests"] = plan.digests
    if choice:
        evidence["assignment"] = choice.evidence()
    return {
        "id": planned.claim.id,
        "outcome": plan.outcome,
        "changes": plan.changes,
        "is_applied": plan.is_applied,
        "phone": plan.phone,
        "account_id": plan.account_id,
        "ticket_id": plan.ticket.id if plan.ticket else None,
        "assignee_id": planned.owner,
        "evidence": _json(evidence),
        "notifications": _json(planned.notifications),
        "now": now,
    }
