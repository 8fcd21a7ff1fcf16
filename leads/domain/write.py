"""What is written for a plan: the columns of account, contact and ticket, and the notifications."""

import json
from collections.abc import Mapping
from typing import Any

from leads.domain.assign import Choice
from leads.domain.decide import LEAD_UPDATED, NEEDS_ATTENTION, NEW_LEAD, Plan
from leads.domain.facts import Situation, Version
from leads.domain.phone import national_parts

Intent = dict[str, Any]
"""One notification: name (unique within its event), template_code, recipient_ids, data."""


def customer_columns(version: Version, plan: Plan) -> dict[str, Any]:
    """Parameters of insert_account, touch_account, insert_consent and upsert_contact."""
    lead = version.lead
    code, national = national_parts(plan.phone)
    return {
        "account_id": plan.account_id,
        "account_phone": plan.account_phone,
        "phone": plan.phone,
        "phone_code": code,
        "phone_number": national,
        "display_name": lead.name or plan.phone,
        "name": lead.name,
        "email": lead.email,
        "address": lead.address,
        "metadata": _json(metadata(version)),
    }


def ticket_columns(version: Version, plan: Plan, assignee_id: str | None) -> dict[str, Any]:
    """Parameters of insert_ticket and update_ticket."""
    lead = version.lead
    lines = [
        ("Điện thoại", ", ".join(version.phones.usable)),
        ("Email", lead.email),
        ("Địa chỉ", lead.address),
        ("Quan tâm", ", ".join(lead.interested_products)),
    ]
    return {
        "ticket_id": plan.ticket.id if plan.ticket else None,
        "account_id": plan.account_id,
        "phone": plan.phone,
        "assignee_id": assignee_id,
        "title": f"Lead Pancake: {lead.name or plan.phone}",
        "description": "\n".join(f"{label}: {value}" for label, value in lines if value),
        "data": _json({"pancake": metadata(version)}),
    }


def roster_columns(choice: Choice) -> dict[str, Any]:
    """Parameters of store_roster: the members whose counters a choice changed."""
    members = choice.changed()
    return {
        "chosen": choice.chosen.assignee_id if choice.chosen else None,
        "assignee_ids": [member.assignee_id for member in members],
        "assigned_counts": [member.assigned_count for member in members],
        "last_assigned_seqs": [member.last_assigned_seq for member in members],
        "was_available": [member.was_available for member in members],
    }


def event_columns(
    claim: Mapping[str, Any], version: Version, plan: Plan, choice: Choice | None, intents: list[Intent]
) -> dict[str, Any]:
    """Parameters of finish_event."""
    evidence: dict[str, object] = {"digests": version.lead.digests(), **plan.evidence}
    if choice:
        evidence["assignment"] = choice.evidence()
    return {
        "id": claim["id"],
        "outcome": plan.outcome,
        "changes": plan.writes_customer,
        "phone": plan.phone,
        "account_id": plan.account_id,
        "ticket_id": plan.ticket.id if plan.ticket else None,
        "assignee_id": _owner(plan, choice),
        "evidence": _json(evidence),
        "notifications": _json(intents),
    }


def metadata(version: Version) -> dict[str, Any]:
    """The mapped fields as they are kept in account.pancake_metadata and ticket.data."""
    return {
        "record_id": version.lead.record_id,
        "table_name": version.table_name,
        "modified_on": version.modified_on.isoformat() if version.modified_on else None,
        **version.lead.fields(),
    }


def notifications(
    version: Version, plan: Plan, situation: Situation, choice: Choice | None, replay: int = 0
) -> list[Intent]:
    """Who is told what: nothing that has nobody to hear it, which could never be sent.

    Only a change in a mapped field reaches this with a ticket to speak of.

    What the n-th replay of an event does is news, and not what the event had said before: its names end in n.
    """
    if plan.ticket is None or not plan.writes_customer:
        return []
    data = {"ticket_id": plan.ticket.id, "customer_name": version.lead.name or "", "phone": plan.phone}
    admins = list(situation.admins)
    owner = _owner(plan, choice)
    intents: list[Intent] = []
    if owner:
        kind, template = ("new_lead", NEW_LEAD) if plan.ticket_is_new else ("lead_updated", LEAD_UPDATED)
        intents.append(_intent(kind, template, [owner], data))
    elif plan.ticket_is_new:
        intents.append(_attention("unassigned", plan.phone, admins, data))
    intents.extend(
        _attention(reason, plan.phone, admins + ([owner] if owner else []), data) for reason in plan.attention
    )
    told = [intent for intent in intents if intent["recipient_ids"]]
    return [intent | {"name": f"{intent['name']}.{replay}"} for intent in told] if replay else told


def _attention(reason: str, detail: str, recipients: list[str], data: dict[str, Any]) -> Intent:
    return _intent(reason, NEEDS_ATTENTION, recipients, {**data, "reason": reason, "detail": detail})


def _intent(name: str, template: str, recipients: list[str], data: dict[str, Any]) -> Intent:
    return {"name": name, "template_code": template, "recipient_ids": recipients, "data": data}


def _owner(plan: Plan, choice: Choice | None) -> str | None:
    """The owner after the plan: chosen for a new ticket, kept for an old one."""
    if choice:
        return choice.staff_id
    return plan.ticket.assignee_id if plan.ticket else None


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
