"""Decide which notifications an event sends, when one that was not sent is tried again, what a notice says.

Every wait grows, and every row ends: after a day, after 20 refusals, or after 5 attempts without an answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypedDict

from leads.domain.decide import Facts, Plan
from leads.domain.fields import FIELDS, FieldName
from leads.domain.phone import local_form, read_phones
from leads.domain.versions import new_items
from leads.domain.visible_text import cut, read_texts, without_unseen

NEW_LEAD = "noti_pancake_new_lead"
LEAD_UPDATED = "noti_pancake_lead_updated"
NEEDS_ATTENTION = "noti_pancake_needs_attention"
TICKET_RECALLED = "ticket_recalled"
"""The reason in the notice to the owner who loses a ticket."""


class Notification(TypedDict):
    """A notification as the event's row keeps it until it is sent; `name` is unique within its event."""

    name: str
    template_code: str
    recipient_ids: list[str]
    data: dict[str, str]


def notifications_of(
    plan: Plan, facts: Facts, owner: str | None, replay_count: int = 0, *, is_told_later: bool = False
) -> tuple[list[Notification], list[str]]:
    """Return the notifications of a plan, and the names of those that have no recipient and cannot be sent.

    `owner` is the ticket's owner after the plan. `is_told_later`: not of the new ticket.
    """
    sent: list[Notification] = []
    dropped: list[str] = []
    for notification in _notifications(plan, facts, owner, is_told_later):
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


def _notifications(
    plan: Plan, facts: Facts, owner: str | None, is_told_later: bool
) -> Iterator[Notification]:
    """An update is for the owner, or for the managers if the ticket has no active owner."""
    data = {
        "ticket_id": plan.ticket.id if plan.ticket else "",
        "customer_name": _customer_name(plan),
        "phone": plan.phone or "",
        "changes": cut("; ".join(_news(plan, facts)), MAX_DETAIL_CHARACTERS) or "-",
    }
    is_active = plan.ticket_is_new or (plan.ticket is not None and plan.ticket.assignee_is_active)
    owners = [owner] if owner and is_active else []
    if plan.ticket_is_new and is_told_later:
        pass
    elif plan.ticket_is_new and owners:
        wanted = cut(", ".join(plan.lead.items("interested_products")), MAX_VALUE_CHARACTERS)
        called = {"customer_name": " – ".join(filter(None, (data["customer_name"], wanted)))}
        yield Notification(name="new_lead", template_code=NEW_LEAD, recipient_ids=owners, data=data | called)
    elif plan.ticket_is_new:
        yield _attention("unassigned", facts.admins, data)
    elif plan.writes_ticket and plan.is_news:
        told = owners or list(facts.managers)
        yield Notification(name="lead_updated", template_code=LEAD_UPDATED, recipient_ids=told, data=data)
    for reason in plan.attention:
        told = owners or list(facts.managers) if reason == "record_deleted" else [*facts.admins, *owners]
        yield _attention(reason, told, data)


def _customer_name(plan: Plan) -> str:
    before = plan.ticket.fields.get("name") if plan.ticket else None
    return plan.lead.text("name") or (before if isinstance(before, str) and before else "chưa có tên")


def _news(plan: Plan, facts: Facts) -> Iterator[str]:
    """Yield what is new, in the order of the table of fields: "Quan tâm mới: Cắt mí (TikTok)".

    What a customer asks for is quoted. Of name, phones, email and address only the fact is told: they are
    personal, and the ticket has them. A new ticket has nothing that they could be new to.
    """
    for name in plan.changed_fields:
        field = FIELDS[name]
        if field.is_told and field.is_of_request:
            yield from _asked(plan, facts, name)
        elif field.is_told and not plan.ticket_is_new and not _holds(plan, name):
            yield f"{field.label} mới"


def _asked(plan: Plan, facts: Facts, name: FieldName) -> Iterator[str]:
    """Yield the new items of a field of the request. The sources stand beside new products."""
    field, names = FIELDS[name], {**facts.source_names, **plan.lead.tag_texts}
    items = {each: new_items(plan.lead, facts.applied, each) for each in ("interested_products", name)}
    if name == "sources" and items["interested_products"]:
        return
    text = ", ".join(filter(None, (field.shown(names.get(item, item)) for item in items[name])))
    if name == "interested_products" and text and facts.source_names:
        text = f"{text} ({', '.join(facts.source_names.values())})"
    if text:
        yield f"{field.label} mới: {text}"
    elif not items[name]:
        yield f"Bớt {'sản phẩm ' if name == 'interested_products' else ''}{field.label.lower()}"


def _holds(plan: Plan, name: FieldName) -> bool:
    """Whether the ticket has this value already, of another record."""
    now, before = plan.lead.fields()[name], plan.ticket.fields.get(name) if plan.ticket else None
    if isinstance(now, list) and isinstance(before, list):
        return set(read_phones(map(str, now)).usable) == set(read_phones(map(str, before)).usable)
    return now == before


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


REFUSED = "refused"
"""The answer was an error. It was not sent."""
UNREACHED = "unreached"
"""The request did not arrive. It was not sent."""
UNKNOWN = "unknown"
"""No answer came in time, or the sender died: it may have been sent."""
NO_RECIPIENTS = "no_recipients"

GIVE_UP_AFTER = timedelta(hours=24)
"""Counted from the first attempt that did not succeed."""
MAX_REFUSALS = 20
MAX_WAIT_AFTER_REFUSAL = timedelta(minutes=90)
"""1 min, 2 min, 4 min … 90 min: 20 refusals take 20 hours, so that a fault of a night can be repaired."""
WAITS_AFTER_UNKNOWN = (timedelta(minutes=2), timedelta(minutes=20), timedelta(hours=2), timedelta(hours=8))
"""Each repeat may be a second message to the same person, so there are four.

They reach over 10 hours: a service that was silent for a night still gets every notification.
"""
MAX_UNKNOWNS = len(WAITS_AFTER_UNKNOWN) + 1
WAITS_AFTER_UNREACHED = (timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=5))
"""The last one repeats. Nothing arrives, so repeats disturb no person, and outages end early."""

MAX_ROWS_PER_CALL = 50
MAX_ROWS_PER_FIRST_REPEAT = 10
"""Of rows without an answer: a service that is slow for each notification may manage fewer in time."""


@dataclass(frozen=True, slots=True)
class RetryState:
    """The attempts to send a row's notifications that did not succeed, and what follows from them.

    `attempts` counts all of them, also those that reached nothing. `next_at` is None if nothing failed yet.
    """

    attempts: int = 0
    refusals: int = 0
    unknowns: int = 0
    unsent_since: datetime | None = None
    next_at: datetime | None = None
    given_up_at: datetime | None = None
    error: str | None = None

    @property
    def is_exhausted(self) -> bool:
        """Whether so many attempts had no answer that there is no further one: each may have been sent."""
        return self.unknowns >= MAX_UNKNOWNS

    def after(self, error: str, now: datetime) -> "RetryState":
        """Return the state after one more attempt ended with this error at `now`."""
        since = self.unsent_since or now
        failed = replace(
            self,
            attempts=self.attempts + 1,
            refusals=self.refusals + (error == REFUSED),
            unknowns=self.unknowns + (error == UNKNOWN),
            unsent_since=since,
            error=error,
        )
        wait = _wait(failed)
        if wait is None or now >= since + GIVE_UP_AFTER:
            return failed.given_up(error, now)
        return replace(failed, next_at=min(now + wait, since + GIVE_UP_AFTER), given_up_at=None)

    def given_up(self, error: str, now: datetime) -> "RetryState":
        return replace(self, error=error, next_at=None, given_up_at=now)


def max_rows_per_call(refusals: int, unknowns: int) -> int:
    """Return how many such rows may share a call: a row that fails alone must not fail others again."""
    if refusals or unknowns > 1:
        return 1
    return MAX_ROWS_PER_FIRST_REPEAT if unknowns else MAX_ROWS_PER_CALL


def _wait(failed: RetryState) -> timedelta | None:
    """Return the wait before the next attempt, None if there is none."""
    if failed.error == REFUSED and failed.refusals < MAX_REFUSALS:
        return min(timedelta(minutes=2 ** (failed.refusals - 1)), MAX_WAIT_AFTER_REFUSAL)
    if failed.error == UNKNOWN and failed.unknowns < MAX_UNKNOWNS:
        return WAITS_AFTER_UNKNOWN[failed.unknowns - 1]
    if failed.error == UNREACHED:
        return WAITS_AFTER_UNREACHED[min(failed.attempts, len(WAITS_AFTER_UNREACHED)) - 1]
    return None


def input_of(notification: Mapping[str, object], idempotency_key: str) -> dict[str, object]:
    """Return the input of sendNotifications for a stored notification.

    The text of a notice and the form of the phone are made when it is sent: stored ones get today's too.
    """
    data = notification["data"]
    if isinstance(data, Mapping) and str(data.get("phone")).startswith("+"):
        data = {**data, "phone": local_form(str(data["phone"]))}
    if notification["template_code"] == NEEDS_ATTENTION and isinstance(data, Mapping):
        data = with_text(data)
    return {
        "template_code": notification["template_code"],
        "recipient_ids": notification["recipient_ids"],
        "data": data,
        "idempotency_key": idempotency_key,
    }


def with_text(data: Mapping[str, object]) -> dict[str, object]:
    """Return the data of a notice with `title` and `text`; an unknown reason gets general words."""
    values = _Values({key: _shown(key, value) for key, value in data.items()})
    text = TEXTS.get(str(data.get("reason")), GENERAL_TEXT)
    return {**data, "title": text.title, "text": text.sentences().format_map(values)}


class _Values(dict[str, str]):
    """The data of a notice. A value that a notice lacks must not keep it from being sent."""

    def __missing__(self, key: str) -> str:
        return UNKNOWN_VALUE


def _shown(key: str, value: object) -> str:
    text = without_unseen(str(value)) or UNKNOWN_VALUE
    return cut(text, MAX_DETAIL_CHARACTERS if key == "detail" else MAX_VALUE_CHARACTERS)


MAX_DETAIL_CHARACTERS, MAX_VALUE_CHARACTERS = 250, 60
"""The detail and the other values are cut here, so that what to do, which comes last, is never cut off."""
UNKNOWN_VALUE = "(không rõ)"


@dataclass(frozen=True, slots=True)
class NoticeText:
    """The text of one reason; notice_texts.toml says what may be in it."""

    title: str
    happened: str
    to_do: str

    def sentences(self) -> str:
        return f"{self.happened} {self.to_do}".strip()


GENERAL_TEXT = NoticeText("Tích hợp Pancake cần chú ý", "{reason}: {detail}", "")
TEXTS: Mapping[str, NoticeText] = {
    reason: NoticeText(**text) for reason, text in read_texts("notice_texts.toml").items()
}
"""The text of each reason that a notice can have."""
