"""What a decision of the reference model writes: the state afterwards, and the notices that it sends."""

from dataclasses import replace

from tests.support.histories.customer_writes import write_account, write_contacts
from tests.support.histories.memory import Notes, counting_time, merged
from tests.support.histories.open_values import ANY, Described, OneOf
from tests.support.histories.recipients import (
    active_admins,
    owner_or_managers,
    tell_attention,
    tell_of_the_future,
)
from tests.support.histories.reference import Decision
from tests.support.histories.request import Result
from tests.support.histories.state import (
    LEAD_UPDATED,
    NEEDS_ATTENTION,
    NEW_LEAD,
    NO_SOURCE,
    Applied,
    Event,
    Expected,
    Notice,
    Record,
    Requested,
    Search,
    State,
    Ticket,
)
from tests.support.histories.vocabulary import OF_REQUEST, UNTOLD, source_name


def expected_result(decision: Decision) -> Expected:
    """Return the result as the state after it."""
    result = decision.result()
    match result.outcome:
        case "skipped_source_disabled":
            return _held(decision)
        case "invalid_phone":
            return _invalid_phone(decision)
        case "stale" | "no_change":
            return _nothing_written(decision, result.outcome)
        case "record_deleted":
            return _deleted(decision)
    return _written(decision, result)


# Versions that write nothing but their own row


def _held(decision: Decision) -> Expected:
    state, event = _state_and_event(decision)
    event.status, event.error_code = "skipped_source_disabled", ANY
    return Expected(event.status, state, decision.record, keeps_notifications=True)


def _invalid_phone(decision: Decision) -> Expected:
    state, event = _state_and_event(decision)
    event.status, event.error_code = "dead_letter", "invalid_phone"
    return Expected("invalid_phone", state, decision.record)


def _nothing_written(decision: Decision, outcome: str) -> Expected:
    """A replay keeps the rows and notices of the event."""
    state, event = _state_and_event(decision)
    is_first = event.outcome is None
    _finish(event, outcome)
    if event.outcome != "ticket_created":
        event.ticket = ANY
    expected = Expected(outcome, state, decision.record, keeps_notifications=True)
    record = decision.record
    if outcome == "no_change" and record is not None:
        version, usable = decision.version, decision.phones()
        expected.record = replace(
            record,
            named=record.named | set(version.fields),
            usable=usable,
            applied=(*record.applied, _applied(decision)),
            was_far_ahead=record.was_far_ahead or decision.is_far_ahead(),
            typed=decision.typed(),
        )
        if is_first:
            expected.search = Search(record.phone, record.account, None, usable)
        tell_of_the_future(decision, expected)
    return expected


def _deleted(decision: Decision) -> Expected:
    """The owner of the record's open ticket gets one notice; nothing is written.

    The deletion of an unknown record makes older versions of it stale, and its phones are the record's.
    """
    state, event = _state_and_event(decision)
    _finish(event, "record_deleted")
    event.ticket = ANY
    usable = decision.phones()
    record = decision.record or Record(
        {},
        frozenset(),
        usable,
        next(iter(usable), None),
        account=None,
        ticket=None,
        applied=(),
        typed=decision.typed(),
    )
    record = replace(
        record,
        applied=(*record.applied, _applied(decision)),
        is_deleted=True,
        was_far_ahead=record.was_far_ahead or decision.is_far_ahead(),
    )
    search = Search(record.phone, record.account, None, record.usable)
    expected = Expected("record_deleted", state, record, search=search)
    ticket, owner = decision.ticket_of_record(), None
    if ticket is not None and ticket.is_open and not (decision.record and decision.record.is_deleted):
        owner = ticket.owner
        if recipients := owner_or_managers(decision, ticket):
            expected.notices = [Notice(NEEDS_ATTENTION, recipients)]
    tell_of_the_future(decision, expected, owner)
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
    expected = Expected(result.outcome, state, _record(decision, result), written=result.ticket)
    expected.search = Search(result.phone, result.winner, result.matched, decision.phones())
    is_lead = decision.version.record[1] == "lead"
    ticket = expected.record.ticket if is_lead and expected.record else None
    made_it = event.outcome == "ticket_created" and event.ticket == ticket
    event.outcome, event.ticket = "ticket_created" if made_it else result.outcome, ticket
    event.status, event.error_code, event.phone = "processed", ANY, result.phone
    event.account = result.winner
    write_account(decision, result, state)
    write_contacts(decision, result, state)
    owner: object = None
    if result.outcome == "ticket_created":
        owner = _create_ticket(decision, result, expected)
    elif result.ticket is not None:
        owner = decision.before.tickets[result.ticket].owner
        _update_ticket(decision, result, expected)
    _tell_of_a_new_phone(decision, result, expected, owner)
    tell_of_the_future(decision, expected, owner)
    return expected


def _record(decision: Decision, result: Result) -> Record:
    old, version = decision.record, decision.version
    return Record(
        fields=merged(old.fields if old else {}, version.fields),
        named=(old.named if old else frozenset()) | set(version.fields),
        usable=decision.phones(),
        phone=result.phone,
        account=result.winner,
        ticket=result.ticket or (old.ticket if old else None),
        applied=(*(old.applied if old else ()), _applied(decision)),
        was_far_ahead=decision.is_far_ahead() or (old is not None and old.was_far_ahead),
        typed=decision.typed(),
    )


def _create_ticket(decision: Decision, result: Result, expected: Expected) -> object:
    """Return the owner."""
    available = decision.before.available(decision.roster())
    assert result.ticket
    owner = OneOf(*available) if available else None
    expected.state.tickets[result.ticket] = Ticket(
        account=result.winner,
        contact_phone=result.phone,
        owner=owner,
        status="new",
        source="ticket_source_pancake",
        title=ANY,
        description=Described("", ""),
        fields=merged({}, decision.version.fields),
        requests={decision.version.record[::2]: _requested(decision, None)},
        created_at=ANY,
    )
    _leave_ticket(decision, expected)
    if available:
        expected.notices = [Notice(NEW_LEAD, OneOf(*(frozenset([key]) for key in available)))]
    elif (admins := active_admins(decision)) and not _is_known_to_wait(decision):
        expected.notices = [Notice(NEEDS_ATTENTION, admins)]
    return owner


def _is_known_to_wait(decision: Decision) -> bool:
    """Tell whether a ticket of the same sources waits for an owner already: the administrators know of it."""
    version, memory = decision.request.version, decision.memory
    return any(
        key not in memory.untold and (each.record[0], each.sources) == (version.record[0], version.sources)
        for key, each in memory.unassigned.items()
    )


def _update_ticket(decision: Decision, result: Result, expected: Expected) -> None:
    """Write the fields, the record's request and the texts made of them; owner, status and typed texts stay.

    A forced version that changes nothing of the record's ticket is no news, nor what people are not told of.
    """
    assert result.ticket
    before, ticket = decision.before.tickets[result.ticket], expected.state.tickets[result.ticket]
    ticket.fields = merged(before.fields, decision.version.fields)
    key = decision.version.record[::2]
    ticket.requests = {**before.requests, key: _requested(decision, before.requests.get(key))}
    _write_texts(decision, result.ticket, expected)
    _leave_ticket(decision, expected)
    ticket.contact_phone = before.contact_phone or result.phone
    is_own = decision.open_ticket_of_record() == result.ticket
    if is_own and decision.has_new_phone() and not _is_customers(decision, result):
        ticket.account, ticket.contact_phone = result.winner, result.phone
    recipients = owner_or_managers(decision, before)
    changed = decision.changed_fields()
    is_quiet = decision.is_unchanged() or (changed and changed <= UNTOLD and not decision.has_new_phone())
    if recipients and not (is_own and is_quiet):
        expected.notices = [Notice(LEAD_UPDATED, recipients)]


def _requested(decision: Decision, known: Requested | None) -> Requested:
    """Return the record's request: it comes along from the open ticket that the record had."""
    version, old = decision.version, decision.ticket_of_record()
    if old is not None and old.is_open:
        known = old.requests.get(version.record[::2], known)
    named = {name: value for name, value in version.fields.items() if name in OF_REQUEST}
    if "sources" in named or known is None:
        sources = named.get("sources", decision.request.version.sources)
        named["sources"] = tuple(source_name(each) for each in sources if each != NO_SOURCE)
    fields = merged(known.fields if known else {}, named)
    return Requested(fields, counting_time(version) or version.arrived_at)


def _leave_ticket(decision: Decision, expected: Expected) -> None:
    """Take the record's request out of the open ticket that the record had, if it has another one now."""
    own = decision.open_ticket_of_record()
    key = decision.version.record[::2]
    if own and own != expected.written and key in decision.before.tickets[own].requests:
        expected.left = own
        requests = decision.before.tickets[own].requests
        expected.state.tickets[own].requests = {each: requests[each] for each in requests if each != key}
        _write_texts(decision, own, expected)


def _write_texts(decision: Decision, key: str, expected: Expected) -> None:
    ticket, notes = expected.state.tickets[key], decision.memory.notes.get(key, Notes())
    ticket.title = decision.memory.typed_titles.get(key, ANY)
    ticket.description = Described(notes.before, notes.after)


def _is_customers(decision: Decision, result: Result) -> bool:
    """Tell whether the ticket was the customer's already, or stays with it as the record's."""
    return result.ticket in decision.open_tickets(result.phone, result.winner)


def _tell_of_a_new_phone(decision: Decision, result: Result, expected: Expected, owner: object) -> None:
    """A person has to look at a record's ticket that another customer gets, or that is left behind."""
    ticket = decision.ticket_of_record()
    if result.outcome == "contact_updated" or ticket is None or not ticket.is_open:
        return
    if decision.has_new_phone() and ticket.account != result.winner:
        tell_attention(decision, expected, owner)
