"""Who was told of an event, and what people did with the ticket since."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from leads.domain.canonical_json import JsonObject
from leads.domain.duration import duration
from leads.domain.trace.step import Step, clock_time, listed
from leads.domain.trace.stored import StoredEvent, list_at, text_at, time_at, value_at

UNSENT: Mapping[str, str] = {
    "refused": "the service refused it",
    "unreached": "Hasura, or the service behind it, was not reached",
    "unknown": "the service did not answer",
    "no_recipients": "it has no recipients",
}
OPEN = frozenset({"new", "in_progress"})


def notification_steps(event: StoredEvent) -> Iterator[Step]:
    """Say for each notification who gets it, and when it was accepted, or why it was not."""
    for notification in event.notifications:
        name = text_at(notification, "name") or ""
        recipients = [event.name_of(each) for each in list_at(notification, "recipient_ids")]
        state = _sending(event, name)
        told_at = event.notified_at or event.notify_given_up_at
        yield Step("told", f"{listed(recipients) or 'no one'}: {name}, {state}", told_at, event.id)
    if event.notifications:
        return
    if event.is_emptied and event.notified_at:
        yield Step("told", "accepted; the messages were emptied", event.notified_at, event.id)
    elif event.result == "ticket_created" and not event.is_emptied:
        yield Step("told", "no one: no admin is active", event_id=event.id)


def _sending(event: StoredEvent, name: str) -> str:
    if event.notified_at or name in (event.notify_sent or ()):
        return "accepted"
    why = UNSENT.get(event.notify_error or "", "")
    if event.notify_given_up_at:
        return f"given up: {why}"
    if not why:
        return "being sent"
    tried = f"{event.notify_attempts} {'try' if event.notify_attempts == 1 else 'tries'}"
    return f"not accepted: {why} ({tried}); next at {clock_time(event.notify_next_at)}"


def ticket_steps(events: list[StoredEvent], now: datetime) -> Iterator[Step]:
    """Say of each ticket of a lead what it is now: status, owner, first response against the SLA."""
    newest = {event.ticket_id: event for event in events if event.ticket_id}
    for event in newest.values():
        if event.ticket is None:
            yield Step("ticket", "the ticket was deleted in Diva", event_id=event.id)
            continue
        told = [time for each in events if (time := time_at(each.evidence, "sla_notified_at"))]
        yield Step("ticket", _ticket_text(event, event.ticket, max(told, default=None), now))


def _ticket_text(event: StoredEvent, ticket: JsonObject, told: datetime | None, now: datetime) -> str:
    owner_id = text_at(ticket, "owner_id")
    owner = event.name_of(owner_id) if owner_id else "no owner"
    changed = " (changed in Diva)" if event.owner_id and owner_id != event.owner_id else ""
    return f"{text_at(ticket, 'code')}: {text_at(ticket, 'status')}, {owner}{changed}; " + _response(
        ticket, event.sla_minutes, told, now
    )


def _response(ticket: JsonObject, sla_minutes: int, told: datetime | None, now: datetime) -> str:
    created, responded = time_at(ticket, "created_at"), time_at(ticket, "first_response_at")
    if created is None:
        return "no time is stored"
    taken = (responded or now) - created
    in_hours = _business_time(ticket, taken)
    sla = timedelta(minutes=sla_minutes)
    if responded:
        return _answered(taken, in_hours, sla)
    if text_at(ticket, "status") not in OPEN:
        return "never answered"
    known = f"; managers told at {clock_time(told)}" if told and taken > sla else ""
    if in_hours is None:
        return f"unanswered, {_due(sla - taken)}{known}"
    return f"unanswered, by the clock {_due(sla - taken)}, by business hours {_due(sla - in_hours)}{known}"


def _business_time(ticket: JsonObject, taken: timedelta) -> timedelta | None:
    """Return how much of the time was business hours; None if all of it, to the minute."""
    minutes: object = value_at(ticket, "business_minutes")
    if not isinstance(minutes, (int, float)):
        return None
    found = timedelta(minutes=minutes)
    return found if taken - found >= timedelta(minutes=1) else None


def _answered(taken: timedelta, in_hours: timedelta | None, sla: timedelta) -> str:
    late = ", too late" if taken > sla else ""
    after = duration(taken)
    if in_hours is not None:
        after += f" by the clock, {duration(in_hours)} by business hours"
        late += " by the clock" if late and in_hours <= sla else ""
    return f"answered after {after} (SLA {sla // timedelta(minutes=1)} min{late})"


def _due(left: timedelta) -> str:
    return f"due in {duration(left)}" if left >= timedelta() else f"{duration(-left)} late"
