"""Decide which notifications an event sends, and to which recipients."""

from collections.abc import Iterator, Sequence
from typing import TypedDict

from leads.domain.decide import Plan
from leads.domain.facts import Facts

NEW_LEAD = "noti_pancake_new_lead"
LEAD_UPDATED = "noti_pancake_lead_updated"
NEEDS_ATTENTION = "noti_pancake_needs_attention"
TICKET_RECALLED = "ticket_recalled"
"""The reason by which the owner who loses a ticket is told."""

FIELD_LABELS = {
    "name": "tên",
    "phones": "số điện thoại",
    "email": "email",
    "address": "địa chỉ",
    "sources": "nguồn",
    "tags": "thẻ",
    "interested_products": "sản phẩm quan tâm",
}
"""The mapped fields, as telesales read them."""


class Notification(TypedDict):
    """A notification as the event's row keeps it until it is sent; `name` is unique within its event."""

    name: str
    template_code: str
    recipient_ids: list[str]
    data: dict[str, str]


def notifications_of(
    plan: Plan, facts: Facts, owner: str | None, replay_count: int = 0
) -> tuple[list[Notification], list[str]]:
    """Return the notifications of a plan, and the names of those that have no recipient and cannot be sent.

    `owner` is the ticket's owner after the plan.
    """
    sent: list[Notification] = []
    dropped: list[str] = []
    for notification in _notifications(plan, facts, owner):
        notification["recipient_ids"] = notification["recipient_ids"] or list(facts.admins)
        notification["name"] = _numbered(notification["name"], replay_count)
        if notification["recipient_ids"]:
            sent.append(notification)
        else:
            dropped.append(notification["name"])
    return sent, dropped


def new_lead_notification(owner: str, data: dict[str, str], replay_count: int) -> Notification:
    """Return the notification of an owner who was found after the ticket was created."""
    name = _numbered("new_lead", replay_count)
    return Notification(name=name, template_code=NEW_LEAD, recipient_ids=[owner], data=data)


def recall_notifications(
    former_owner: str, owner: str, data: dict[str, str], number: int, replay_count: int
) -> list[Notification]:
    """Return what the two owners get when a ticket is recalled for the `number`th time."""
    lost = _attention(TICKET_RECALLED, [former_owner], data)
    lost["name"] = _numbered(f"{TICKET_RECALLED}_{number}", replay_count)
    name = _numbered(f"new_lead_after_recall_{number}", replay_count)
    return [Notification(name=name, template_code=NEW_LEAD, recipient_ids=[owner], data=data), lost]


def _notifications(plan: Plan, facts: Facts, owner: str | None) -> Iterator[Notification]:
    """An update is for the owner, or for the managers if the ticket has no active owner."""
    data = {
        "ticket_id": plan.ticket.id if plan.ticket else "",
        "customer_name": _customer_name(plan),
        "phone": plan.phone or "",
        "changes": ", ".join(FIELD_LABELS[name] for name in plan.changed_fields) or "-",
    }
    is_active = plan.ticket_is_new or (plan.ticket is not None and plan.ticket.assignee_is_active)
    owners = [owner] if owner and is_active else []
    if plan.ticket_is_new and owners:
        yield Notification(name="new_lead", template_code=NEW_LEAD, recipient_ids=owners, data=data)
    elif plan.ticket_is_new:
        yield _attention("unassigned", facts.admins, data)
    elif plan.writes_ticket and plan.is_news:
        recipients = owners or list(facts.managers)
        yield Notification(
            name="lead_updated", template_code=LEAD_UPDATED, recipient_ids=recipients, data=data
        )
    for reason in plan.attention:
        is_for_owner = reason == "record_deleted"
        recipients = owners or list(facts.managers) if is_for_owner else [*facts.admins, *owners]
        yield _attention(reason, recipients, data)


def _customer_name(plan: Plan) -> str:
    before = plan.ticket.fields.get("name") if plan.ticket else None
    return plan.lead.name or (before if isinstance(before, str) else "")


def _numbered(name: str, replay_count: int) -> str:
    """Names of a replay end in its number: it may send what the event has not sent before."""
    return f"{name}.{replay_count}" if replay_count else name


def _attention(reason: str, recipient_ids: Sequence[str], data: dict[str, str]) -> Notification:
    return Notification(
        name=reason,
        template_code=NEEDS_ATTENTION,
        # An owner may be an administrator too.
        recipient_ids=list(dict.fromkeys(recipient_ids)),
        data={**data, "reason": reason, "detail": data["phone"]},
    )
