"""Decide which notifications an event sends, and to which recipients."""

from collections.abc import Sequence
from typing import TypedDict

from leads.domain.decide import Plan
from leads.domain.facts import Facts
from leads.domain.lead import Lead

NEW_LEAD = "noti_pancake_new_lead"
LEAD_UPDATED = "noti_pancake_lead_updated"
NEEDS_ATTENTION = "noti_pancake_needs_attention"


class Notification(TypedDict):
    """A notification as the event's row keeps it until it is sent; `name` is unique within its event."""

    name: str
    template_code: str
    recipient_ids: list[str]
    data: dict[str, str]


def notifications_of(
    lead: Lead, plan: Plan, facts: Facts, owner: str | None, replay_count: int = 0
) -> list[Notification]:
    """Return the notifications of a plan; one without recipients, which could not be sent, is left out.

    A replay may send notifications that the event has not sent before, so their names end in its number.
    """
    if plan.ticket is None or not plan.writes_customer:
        return []
    data = {"ticket_id": plan.ticket.id, "customer_name": lead.name or "", "phone": plan.phone}
    admins = list(facts.admins)
    found: list[Notification] = []
    if owner:
        name, template = ("new_lead", NEW_LEAD) if plan.ticket_is_new else ("lead_updated", LEAD_UPDATED)
        found.append(Notification(name=name, template_code=template, recipient_ids=[owner], data=data))
    elif plan.ticket_is_new:
        found.append(_attention("unassigned", plan.phone, admins, data))
    recipients = admins + ([owner] if owner else [])
    found.extend(_attention(reason, plan.phone, recipients, data) for reason in plan.attention)
    return [_numbered(each, replay_count) for each in found if each["recipient_ids"]]


def _attention(reason: str, detail: str, recipient_ids: Sequence[str], data: dict[str, str]) -> Notification:
    return Notification(
        name=reason,
        template_code=NEEDS_ATTENTION,
        recipient_ids=list(recipient_ids),
        data={**data, "reason": reason, "detail": detail},
    )


def _numbered(notification: Notification, replay_count: int) -> Notification:
    if not replay_count:
        return notification
    return {**notification, "name": f"{notification['name']}.{replay_count}"}
