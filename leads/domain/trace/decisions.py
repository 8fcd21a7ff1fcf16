"""What the processing of an event decided, and why: result, customer, owner, what was noted."""

from collections.abc import Iterator, Mapping

from leads.domain.lead import OTHER_TABLES
from leads.domain.trace.owners import owner_steps
from leads.domain.trace.step import Step, listed
from leads.domain.trace.stored import StoredEvent, list_at, text_at, value_at

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
