"""What a decision of the reference model writes: the state afterwards, and who is told."""

from dataclasses import replace

from tests.support.histories.memory import counting_time, merged
from tests.support.histories.recipients import managers_or_admins, owner_or_managers, tell_of_the_future
from tests.support.histories.reference import Decision
from tests.support.histories.request import Result
from tests.support.histories.state import (
    ANY,
    LEAD_UPDATED,
    NEEDS_ATTENTION,
    NEW_LEAD,
    Account,
    Applied,
    Contact,
    Event,
    Expected,
    OneOf,
    Record,
    State,
    Ticket,
    Told,
)


def expected_results(decision: Decision) -> list[Expected]:
    """Return each allowed result as the state after it."""
    return [_expected(decision, result) for result in decision.results()]


def _expected(decision: Decision, result: Result) -> Expected:
    match result.outcome:
        case "invalid_phone":
            return _invalid_phone(decision)
        case "stale" | "no_change":
            return _nothing_written(decision, result.outcome)
        case "record_deleted":
            return _deleted(decision)
    return _written(decision, result)


# Versions that write nothing but their own row


def _invalid_phone(decision: Decision) -> Expected:
    state, event = _state_and_event(decision)
    event.status, event.error_code = "dead_letter", "invalid_phone"
    return Expected("invalid_phone", state, decision.record)


def _nothing_written(decision: Decision, outcome: str) -> Expected:
    """A replay keeps what the event has made and told."""
    state, event = _state_and_event(decision)
    _finish(event, outcome)
    if event.outcome != "ticket_created":
        event.ticket = ANY
    record = decision.record
    if outcome == "no_change" and record is not None:
        version = decision.version
        record = replace(
            record,
            named=record.named | set(version.fields),
            usable=version.usable or record.usable,
            applied=(*record.applied, _applied(decision)),
            was_far_ahead=record.was_far_ahead or decision.is_far_ahead(),
        )
    expected = Expected(outcome, state, record, keeps_notifications=True)
    if outcome != "stale":
        tell_of_the_future(decision, expected)
    return expected


def _deleted(decision: Decision) -> Expected:
    """The owner of the record's open ticket is told once; nothing is written."""
    state, event = _state_and_event(decision)
    _finish(event, "record_deleted")
    event.ticket = ANY
    record = decision.record
    if record is not None:
        record = replace(
            record,
            applied=(*record.applied, _applied(decision)),
            is_deleted=True,
            was_far_ahead=record.was_far_ahead or decision.is_far_ahead(),
        )
    expected = Expected("record_deleted", state, record)
    ticket = decision.ticket_of_record()
    is_told = ticket is not None and ticket.is_open and not decision.is_after_deletion()
    if ticket is not None and is_told and (recipients := owner_or_managers(decision, ticket)):
        expected.must_tell = [Told(OneOf(LEAD_UPDATED, NEEDS_ATTENTION), OneOf(*recipients))]
    expected.may_tell = [Told(NEEDS_ATTENTION, ANY)]
    tell_of_the_future(decision, expected)
    return expected


def _state_and_event(decision: Decision) -> tuple[State, Event]:
    state = decision.before.copied()
    return state, state.events[decision.version.event]


def _finish(event: Event, outcome: str) -> None:
    """An event that made a ticket keeps that outcome; a replay without effect may keep any."""
    event.status, event.error_code, event.phone, event.account = "processed", ANY, ANY, ANY
    if event.outcome != "ticket_created":
        event.outcome = OneOf(outcome, event.outcome or outcome)


def _applied(decision: Decision) -> Applied:
    version = decision.version
    return Applied(version.event, counting_time(version), version.arrived_at)


# Versions that are written


def _written(decision: Decision, result: Result) -> Expected:
    state, event = _state_and_event(decision)
    expected = Expected(f"{result.outcome} with {result.phone}", state, _record(decision, result))
    made_it = event.outcome == "ticket_created" and event.ticket == result.ticket
    event.outcome = "ticket_created" if made_it else result.outcome
    event.status, event.error_code, event.phone = "processed", ANY, result.phone
    event.account, event.ticket = result.winner, result.ticket
    expected.written = result.ticket
    _write_account(decision, result, state)
    _write_contacts(decision, result, state)
    if result.ticket is None:
        event.ticket = ANY
        _leave_the_ticket(decision, expected)
    elif result.outcome == "ticket_created":
        _create_ticket(decision, result, expected)
    else:
        _update_ticket(decision, result, expected)
        event.account = OneOf(result.winner, state.tickets[result.ticket].account)
    tell_of_the_future(decision, expected)
    return expected


def _record(decision: Decision, result: Result) -> Record:
    old, version = decision.record, decision.version
    return Record(
        fields=merged(old.fields if old else {}, version.fields),
        named=(old.named if old else frozenset()) | set(version.fields),
        usable=decision.usable(),
        phone=result.phone,
        account=result.winner,
        ticket=result.ticket or (old.ticket if old else None),
        applied=(*(old.applied if old else ()), _applied(decision)),
        was_far_ahead=decision.is_far_ahead() or (old is not None and old.was_far_ahead),
    )


def _write_account(decision: Decision, result: Result, state: State) -> None:
    name = decision.version.fields.get("name")
    if result.winner == decision.request.new_account:
        state.accounts[result.winner] = Account(result.phone, ANY, name=ANY)
    elif name:
        account = state.accounts[result.winner]
        account.name = OneOf(account.name, name)


def _write_contacts(decision: Decision, result: Result, state: State) -> None:
    """The contact of the deciding phone goes to the winner; others get one unless they have a customer."""
    contact = state.contacts.setdefault(result.phone, Contact(result.winner))
    contact.account = result.winner
    fields = decision.version.fields
    contact.name = fields.get("name") or contact.name  # type: ignore[assignment]
    contact.email = fields.get("email") or contact.email  # type: ignore[assignment]
    contact.address = fields.get("address") or contact.address  # type: ignore[assignment]
    taken = {account.phone for account in decision.before.accounts.values() if not account.deleted}
    for phone in set(decision.usable()) - taken:
        other = state.contacts.setdefault(phone, Contact(result.winner))
        holder = state.accounts.get(str(other.account))
        if holder is not None and holder.deleted:
            state.contacts[phone] = Contact(OneOf(other.account, result.winner))


def _create_ticket(decision: Decision, result: Result, expected: Expected) -> None:
    available = [key for key, staff in decision.before.staff.items() if staff.is_available]
    assert result.ticket
    assert expected.record
    expected.state.tickets[result.ticket] = Ticket(
        account=result.winner,
        contact_phone=result.phone,
        owner=OneOf(*available) if available else None,
        status="new",
        source="ticket_source_pancake",
        title=ANY,
        description=ANY,
        fields=OneOf(expected.record.fields, merged({}, decision.version.fields)),
    )
    if available:
        expected.must_tell = [Told(NEW_LEAD, OneOf(*(frozenset([key]) for key in available)))]
        expected.may_tell = [Told(NEEDS_ATTENTION, ANY)]
    elif managers := managers_or_admins(decision):
        expected.must_tell = [Told(NEEDS_ATTENTION, OneOf(*managers))]
        expected.may_tell = [Told(NEEDS_ATTENTION, ANY)]


def _update_ticket(decision: Decision, result: Result, expected: Expected) -> None:
    """Write the fields and the texts composed of them; owner, status and typed texts stay."""
    assert result.ticket
    before, ticket = decision.before.tickets[result.ticket], expected.state.tickets[result.ticket]
    assert isinstance(before.fields, dict)
    ticket.fields = merged(before.fields, decision.version.fields)
    typed = decision.memory.typed
    ticket.title = typed.get((result.ticket, "title"), ANY)
    ticket.description = typed.get((result.ticket, "description"), ANY)
    ticket.contact_phone = OneOf(before.contact_phone, result.phone)
    own = decision.record is not None and decision.record.ticket == result.ticket
    recipients = owner_or_managers(decision, before)
    update = [Told(LEAD_UPDATED, OneOf(*recipients))] if recipients else []
    expected.may_tell = [Told(NEEDS_ATTENTION, ANY)]
    if own and decision.has_new_phone():
        if result.ticket not in decision.customers.open_tickets(result.phone, result.winner):
            ticket.account, ticket.contact_phone = result.winner, result.phone
            expected.must_tell = [Told(NEEDS_ATTENTION, ANY)] if recipients else []
        elif not decision.customers.is_in_the_way(result.ticket, result.phone, result.winner):
            ticket.account = OneOf(before.account, result.winner)
        expected.may_tell += update
    elif own and decision.changed_fields() and not decision.may_change_nothing():
        expected.must_tell = update
    elif not own or decision.changed_fields() or decision.request.force or decision.is_after_deletion():
        expected.may_tell += update


def _leave_the_ticket(decision: Decision, expected: Expected) -> None:
    """The text does not say whether a closed ticket gets the news in its data, nor who hears of it."""
    key = expected.record.ticket if expected.record else None
    ticket = expected.state.tickets.get(key or "")
    if ticket is not None and not ticket.is_open and isinstance(ticket.fields, dict):
        ticket.fields = OneOf(ticket.fields, merged(ticket.fields, decision.version.fields))
        typed = decision.memory.typed
        ticket.title = OneOf(ticket.title, typed.get((str(key), "title"), ANY))
        ticket.description = OneOf(ticket.description, typed.get((str(key), "description"), ANY))
    expected.may_tell = [Told(LEAD_UPDATED, ANY), Told(NEEDS_ATTENTION, ANY)]
