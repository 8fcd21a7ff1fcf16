"""The steps of an event in words, in the order of time; docs/flow.md explains the codes.

How it arrived, in which state it is, what was decided and why, who got the ticket, who was told of it, and
what people did with the ticket since.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from fractions import Fraction

from leads.domain.assign import CHOSEN, HAD_IT, NOT_IN_ROSTER, TOO_FAR_AHEAD
from leads.domain.canonical_json import JsonObject, JsonValue
from leads.domain.event_states import CLAIM_LEASE, KILL_SWITCH, MAX_ATTEMPTS, SOURCE_INACTIVE
from leads.domain.lead import OTHER_TABLES
from leads.domain.phone import read_phones
from leads.domain.trace_event import (
    Step,
    StoredEvent,
    clock_time,
    list_at,
    listed,
    text_at,
    time_at,
    value_at,
)
from leads.domain.visible_text import duration

ERRORS: Mapping[str, str] = {
    "invalid_json": "the body is not a JSON object",
    "too_deep": "the body is nested too deep",
    "too_large": "the body is too large",
    "unstorable": "the body holds what PostgreSQL cannot store",
    "missing_record_id": "the body has no record id",
    "test_ping": "Pancake's test of the webhook, no lead",
    "invalid_phone": "no usable phone number",
    "erased": "a version of a customer who was erased",
    "invalid_payload": "the row holds no body to process",
    "contended": "it lost against other transactions, or took longer than 20 s",
    "database_unavailable": "the database gave no connection",
    "internal": "an error of the program or of the database",
    "claim_expired": "the handler that worked on it died",
}
HELD: Mapping[str, str] = {
    KILL_SWITCH: "the kill switch was on",
    "connection_disabled": "the connection was disabled",
    "source_unknown": "its source has no name yet",
    SOURCE_INACTIVE: "none of its sources was active",
}
REJECTED: Mapping[str, str] = {
    "too_short": "too short",
    "too_long": "too long",
    "not_a_number": "no number",
    "invalid": "no valid number, or can be read in several ways",
}
RESULTS: Mapping[str, str] = {
    "ticket_created": "the customer had none open",
    "ticket_updated": "the customer's open ticket",
    "contact_updated": "the ticket was closed, and no phone, source or product is new",
    "record_deleted": "Pancake deleted the record; nothing is changed in Diva",
    "no_change": "no mapped field differs from the version applied last",
    "stale": "older than the newest version that was applied",
}
STAYS: Mapping[str, str] = {
    "shared": "another record shares it",
    "joined": "the other customer has an open ticket",
}
LIMITED: Mapping[str, str] = {
    "outside_shift": "outside the shift",
    "daily_cap": "daily cap reached",
    "open_cap": "cap of open tickets reached",
}
"""The limits of a member, by the codes of the SQL function pancake_member_limit."""
UNAVAILABLE: Mapping[str, str] = {
    "roster_row_inactive": "switched off in the roster",
    "staff_inactive": "account disabled",
    "off_duty": "off duty",
    **LIMITED,
    TOO_FAR_AHEAD: "too many tickets ahead of the others",
    HAD_IT: "had the ticket before",
    NOT_IN_ROSTER: "not in the roster",
}
SETTLED: Mapping[str, str] = {
    "assigned_in_diva": "a person assigned it",
    "ticket_closed": "a person closed it",
    "ticket_deleted": "a person deleted it",
}
RECALLED: Mapping[str, str] = {"no_first_response": "no response in time"}
UNSENT: Mapping[str, str] = {
    "refused": "the service refused it",
    "unreached": "Hasura, or the service behind it, was not reached",
    "unknown": "the service did not answer",
    "no_recipients": "it has no recipients",
}


def arrival_steps(event: StoredEvent) -> Iterator[Step]:
    """Say how the event came, with the phone as typed; then when it was held and replayed, if it was."""
    sources = f"; {listed(event.sources)}" if event.sources else ""
    at = event.arrived_at if event.origin == "webhook" else event.created_at
    yield Step(event.origin, f"event {event.id}: {_phone_text(event)}{sources}", at, event.id)
    if event.held_at and not event.is_held:
        yield Step("held", "held, and replayed later", event.held_at, event.id)
    if event.replay_count:
        yield Step("replay", _replay_text(event), event.replayed_at, event.id)


def _phone_text(event: StoredEvent) -> str:
    """Return the phones as typed, and as they are read if that is not obvious."""
    if event.is_emptied:
        return "its body was emptied"
    if event.body is None:
        return "a body that is no JSON object" if event.has_no_body else "a large body"
    typed = event.phones_as_typed()
    if not typed:
        return "no phone"
    usable = read_phones(typed).usable
    return listed([f'"{text}"' for text in typed]) + (f" is {listed(usable)}" if usable else "")


def _replay_text(event: StoredEvent) -> str:
    by = f" by {event.name_of(event.replayed_by)}" if event.replayed_by else ""
    times = f" (replay {event.replay_count})" if event.replay_count > 1 else ""
    corrected = text_at(event.evidence, "corrected_phone")
    phone = f' with the phone "{corrected}"' if corrected else ""
    forced = ", forced" if event.evidence.keys() & {"force", "forced"} else ""
    return f"replayed{by}{phone}{forced}{times}"


def state_step(event: StoredEvent, now: datetime) -> Step:
    """Say in which state an event is that is not processed, and why."""
    if event.is_held:
        return Step("held", f"{event.status}: {HELD[event.held_by]}", event.held_at, event.id)
    if event.status == "received":
        text = "processing is paused" if event.processing_paused else "Hasura has not delivered it yet"
        return Step("waits", f"received: {text}", event.received_at, event.id)
    if event.status == "ingested":
        text = "a handler works on it"
        if event.ingested_at and now - event.ingested_at > CLAIM_LEASE:
            text = f"the handler stopped: its claim of {duration(CLAIM_LEASE)} has ended"
        return Step("waits", f"ingested: {text}", event.ingested_at, event.id)
    reason = f"{event.error_code}: {_error_text(event)}"
    if event.status == "failed":
        tried = f"attempt {event.attempts} of {MAX_ATTEMPTS}"
        text = f"{reason}; {tried}, the next one at {clock_time(event.next_attempt_at)}"
        return Step("failed", text, event.ingested_at, event.id)
    after = f"; {event.attempts} attempts" if event.attempts > 1 else ""
    return Step("dead_letter", reason + after, event.ingested_at or event.arrived_at, event.id)


def _error_text(event: StoredEvent) -> str:
    reason = ERRORS.get(event.error_code or "", event.error_detail or "no reason is stored")
    if event.error_code == "internal" and event.error_detail:
        return f"{reason} ({event.error_detail})"
    if event.error_code != "invalid_phone" or event.is_emptied:
        return reason
    rejected = read_phones(event.phones_as_typed()).rejected
    words = [f'"{text}" is {REJECTED.get(why, why)}' for text, why in rejected]
    return listed(words) or "the record has no phone"


def decision_steps(event: StoredEvent) -> Iterator[Step]:
    """Say what was decided for a processed event, and why."""
    yield Step("result", _result_text(event), event.processed_at, event.id)
    if event.result in ("no_change", "stale"):
        return
    if event.ticket_id or event.account:
        yield from _customer_steps(event)
    if event.outcome == "ticket_created":
        yield from owner_steps(event)
    yield from (Step("note", text, event_id=event.id) for text in _notes(event))


def _result_text(event: StoredEvent) -> str:
    result = event.result or ""
    reason = RESULTS.get(result, "")
    if event.table_name in OTHER_TABLES and result == "contact_updated":
        reason = f"a record of Pancake's table {event.table_name} makes no ticket"
    before = event.outcome
    was = f"; the result before was {before}" if before not in (result, None) else ""
    code = text_at(event.ticket, "code")
    named = f" {code}" if code and result.startswith("ticket_") else ""
    return f"{result}{named}: {reason}{was}"


def _customer_steps(event: StoredEvent) -> Iterator[Step]:
    rule = _customer_rule(event)
    if not rule and event.is_emptied and event.account is None:
        return
    name, state = text_at(event.account, "name") or "the account was deleted", ""
    if value_at(event.account, "is_deleted") is True:
        state = " (deleted since)"
    elif value_at(event.account, "is_enabled") is False:
        state = " (disabled)"
    yield Step("customer", f"{name}{state}{rule}", event_id=event.id)


def _customer_rule(event: StoredEvent) -> str:
    """Return by which rule the account was found. An emptied event has digests in place of the phones."""
    phone = value_at(event.evidence, "phone")
    winner, candidates = text_at(phone, "winner"), list_at(phone, "candidates")
    if winner is None:
        return ""
    matched = text_at(phone, "matched") or text_at(phone, "digests", "matched")
    shown = text_at(phone, "matched") or "the phone"
    if winner not in candidates:
        if matched:
            return f": new, no account has {shown}"
        return ": the account of the record's ticket or of its last version"
    of_several = f", the oldest enabled of {len(candidates)}" if len(candidates) > 1 else ""
    if matched:
        return f": its own phone is {shown}{of_several}"
    return f": a contact of it has the phone{of_several}"


def owner_steps(event: StoredEvent) -> Iterator[Step]:
    """Say who got the ticket that the event created and why, who lost it by a recall, and who was skipped."""
    assignment = value_at(event.evidence, "assignment")
    if not isinstance(assignment, Mapping):
        return
    chosen, settled = text_at(assignment, "chosen"), text_at(assignment, "settled")
    assigned_at, recalls = time_at(assignment, "assigned_at"), list_at(assignment, "recalls")
    if recalls:
        yield from _recall_steps(event, assignment, recalls)
    elif chosen:
        late = f"found at {clock_time(assigned_at)}: " if assigned_at else ""
        yield Step("owner", f"{event.name_of(chosen)}: {late}{_why(event, assignment)}", event_id=event.id)
    elif settled:
        yield Step("owner", f"left alone: {SETTLED.get(settled, settled)}", event_id=event.id)
    elif list_at(assignment, "roster"):
        yield Step("owner", "none: no one in the roster is available", event_id=event.id)
    else:
        yield Step("owner", "none: the roster is empty", event_id=event.id)
    skipped = _skipped(event, list_at(assignment, "skipped"))
    before = _skipped(event, list_at(assignment, "skipped_before"))
    if assigned_at and before and not recalls:
        skipped = f"when the ticket was created: {before}"
    if skipped:
        yield Step("skipped", skipped, event_id=event.id)


def _recall_steps(event: StoredEvent, assignment: JsonObject, recalls: list[JsonValue]) -> Iterator[Step]:
    """Name the first owner and each recall; why is known of the last, whose counters are kept."""
    first = event.name_of(text_at(recalls[0], "from"))
    yield Step("owner", f"{first}: until the ticket was recalled", event_id=event.id)
    for number, recall in enumerate(recalls, 1):
        from_whom, to_whom = event.name_of(text_at(recall, "from")), event.name_of(text_at(recall, "to"))
        code = text_at(recall, "reason") or ""
        why = f": {_why(event, assignment)}" if number == len(recalls) else ""
        text = f"from {from_whom} ({RECALLED.get(code, code)}) to {to_whom}{why}"
        yield Step("recall", text, time_at(recall, "at"), event.id)


def _why(event: StoredEvent, assignment: JsonObject) -> str:
    """Say why the chosen member got it: as the customer's former owner, else by the turns."""
    former_owner = value_at(assignment, "former_owner")
    former, result = text_at(former_owner, "staff_id"), text_at(former_owner, "result")
    if former is None or result is None:
        return _turn(assignment)
    if result == CHOSEN:
        return "the customer's former owner"
    reason = UNAVAILABLE.get(result, result)
    return f"{_turn(assignment)}; former owner {event.name_of(former)} not taken: {reason}"


def _turn(assignment: JsonObject) -> str:
    """Say why the chosen member was next: the fewest tickets for the weight, the longest wait, the id."""
    skipped = {text_at(item, "staff_id") for item in list_at(assignment, "skipped")}
    available = [item for item in list_at(assignment, "roster") if text_at(item, "staff_id") not in skipped]
    winner = text_at(assignment, "chosen")
    chosen = next((item for item in available if text_at(item, "staff_id") == winner), None)
    if chosen is None:
        return "chosen by round robin"
    if len(available) == 1:
        return "the only one available"
    equal = [item for item in available if _ratio(item) == _ratio(chosen) and item is not chosen]
    count, weight = _number(chosen, "assigned_count"), _number(chosen, "weight")
    counted = f"{count} {'ticket' if count == 1 else 'tickets'}"
    if weight != 1:
        counted += f" at weight {weight}"
    if equal:
        turn = _number(chosen, "last_assigned_seq")
        has_tie = any(_number(item, "last_assigned_seq") == turn for item in equal)
        why = "first by id of those who waited longest" if has_tie else "waited longest"
        return f"{counted} like {len(equal)} {'other' if len(equal) == 1 else 'others'}, {why}"
    return f"{counted}, fewest of {len(available)}"


def _ratio(member: JsonValue) -> Fraction:
    return Fraction(_number(member, "assigned_count"), max(_number(member, "weight"), 1))


def _number(member: JsonValue, key: str) -> int:
    found: object = value_at(member, key)
    return found if isinstance(found, int) else 0


def _skipped(event: StoredEvent, items: list[JsonValue]) -> str:
    reasons = [(text_at(item, "staff_id"), text_at(item, "reason")) for item in items]
    return listed([f"{event.name_of(id_)} ({UNAVAILABLE.get(why, why)})" for id_, why in reasons if why])


def _notes(event: StoredEvent) -> Iterator[str]:
    evidence = event.evidence
    if "table_unknown" in list_at(evidence, "notes"):
        yield "Pancake did not say in which table the record is: it is taken as a lead"
    if evidence.get("future_time"):
        yield "its time was in the far future: the time of arrival counts"
    if fields := list_at(evidence, "cut_fields"):
        yield f"longer than what is kept: {listed([str(name) for name in fields])}"
    changed = value_at(evidence, "phone_changed")
    if isinstance(changed, Mapping):
        stays = text_at(changed, "ticket_stays")
        ticket = f"stays: {STAYS.get(stays, stays)}" if stays else "moved to the customer of the new phone"
        yield f"the phone changed in Pancake; the former ticket {ticket}"
    for name in ("ticket_account", "applied_account"):
        if state := text_at(evidence, name, "state"):
            yield f"the account of its {'ticket' if name == 'ticket_account' else 'last version'} is {state}"


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
    response = _response(ticket, event.sla_minutes, told, now)
    return f"{text_at(ticket, 'code')}: {text_at(ticket, 'status')}, {owner}{changed}; {response}"


def _response(ticket: JsonObject, sla_minutes: int, told: datetime | None, now: datetime) -> str:
    created, responded = time_at(ticket, "created_at"), time_at(ticket, "first_response_at")
    if created is None:
        return "no time is stored"
    taken = (responded or now) - created
    in_hours = _business_time(ticket, taken)
    sla = timedelta(minutes=sla_minutes)
    if responded:
        return _answered(taken, in_hours, sla)
    if value_at(ticket, "is_open") is not True:
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
