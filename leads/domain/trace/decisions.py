"""What the processing of an event decided, and why: result, customer, owner, what was noted."""

from collections.abc import Iterator, Mapping
from fractions import Fraction

from leads.domain.canonical_json import JsonObject, JsonValue
from leads.domain.table_record import OTHER_TABLES
from leads.domain.trace.step import Step, clock_time, listed
from leads.domain.trace.stored import StoredEvent, list_at, text_at, time_at, value_at

RESULTS: Mapping[str, str] = {
    "ticket_created": "the customer had none open",
    "ticket_updated": "the customer's open ticket",
    "contact_updated": "the ticket was closed, and no phone, source or product is new",
    "record_deleted": "Pancake deleted the record; nothing is changed in Diva",
    "no_change": "no mapped field differs from the version applied last",
    "stale": "older than the newest version that was applied",
}
UNAVAILABLE: Mapping[str, str] = {
    "roster_row_inactive": "switched off in the roster",
    "staff_inactive": "account disabled",
    "off_duty": "off duty",
}
SETTLED: Mapping[str, str] = {
    "assigned_in_diva": "a person assigned it",
    "ticket_closed": "a person closed it",
    "ticket_deleted": "a person deleted it",
}
STAYS: Mapping[str, str] = {
    "shared": "another record shares it",
    "joined": "the other customer has an open ticket",
}


def decision_steps(event: StoredEvent) -> Iterator[Step]:
    """Say what was decided for a processed event, and why."""
    yield Step("result", _result_text(event), event.processed_at, event.id)
    if event.result in ("no_change", "stale"):
        return
    if event.ticket_id or event.account:
        yield from _customer_steps(event)
    if event.outcome == "ticket_created":
        yield from _owner_steps(event)
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
    name = text_at(event.account, "name") or "the account was deleted"
    state = ""
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


def _owner_steps(event: StoredEvent) -> Iterator[Step]:
    assignment = value_at(event.evidence, "assignment")
    if not isinstance(assignment, Mapping):
        return
    chosen, settled = text_at(assignment, "chosen"), text_at(assignment, "settled")
    assigned_at = time_at(assignment, "assigned_at")
    if chosen:
        late = f"found at {clock_time(assigned_at)}: " if assigned_at else ""
        yield Step("owner", f"{event.name_of(chosen)}: {late}{_why(assignment)}", event_id=event.id)
    elif settled:
        yield Step("owner", f"left alone: {SETTLED.get(settled, settled)}", event_id=event.id)
    elif list_at(assignment, "roster"):
        yield Step("owner", "none: no one in the roster is available", event_id=event.id)
    else:
        yield Step("owner", "none: the roster is empty", event_id=event.id)
    skipped = _skipped(event, list_at(assignment, "skipped"))
    before = _skipped(event, list_at(assignment, "skipped_before"))
    if assigned_at and before:
        skipped = f"when the ticket was created: {before}"
    if skipped:
        yield Step("skipped", skipped, event_id=event.id)


def _skipped(event: StoredEvent, items: list[JsonValue]) -> str:
    reasons = [
        f"{event.name_of(text_at(item, 'staff_id'))} ({UNAVAILABLE.get(why, why)})"
        for item in items
        if (why := text_at(item, "reason"))
    ]
    return listed(reasons)


def _why(assignment: JsonObject) -> str:
    """Say why the chosen member was next: the fewest tickets for the weight, else the longest wait."""
    skipped = {text_at(item, "staff_id") for item in list_at(assignment, "skipped")}
    available = [item for item in list_at(assignment, "roster") if text_at(item, "staff_id") not in skipped]
    chosen = next(
        (item for item in available if text_at(item, "staff_id") == text_at(assignment, "chosen")), None
    )
    if chosen is None:
        return "chosen by round robin"
    if len(available) == 1:
        return "the only one available"
    ratio = _ratio(chosen)
    equal = sum(_ratio(item) == ratio for item in available) - 1
    count, weight = _number(chosen, "assigned_count"), _number(chosen, "weight")
    counted = f"{count} {'ticket' if count == 1 else 'tickets'}"
    if weight != 1:
        counted += f" at weight {weight}"
    if equal:
        return f"{counted} like {equal} {'other' if equal == 1 else 'others'}, waited longest"
    return f"{counted}, fewest of {len(available)}"


def _ratio(member: JsonValue) -> Fraction:
    return Fraction(_number(member, "assigned_count"), max(_number(member, "weight"), 1))


def _number(member: JsonValue, key: str) -> int:
    found: object = value_at(member, key)
    return found if isinstance(found, int) else 0


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
