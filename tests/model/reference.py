"""The reference model: what becomes of a version, written from the specification alone.

`results` returns every state that the specification allows after a version was processed. More
than one means that the specification leaves it open. The order of the rules is the order of
the text: phone, stale, no change, account, ticket, owner, notifications.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tests.model.world import (
    ANY,
    FAR_FUTURE_HOURS,
    LEAD_UPDATED,
    NEEDS_ATTENTION,
    NEW_LEAD,
    Account,
    Applied,
    Contact,
    Expected,
    Fields,
    OneOf,
    Record,
    RecordKey,
    State,
    Ticket,
    Told,
    Version,
)

APPLIED_FIELDS_THAT_OPEN_A_TICKET = ("source", "product")


@dataclass(frozen=True)
class Request:
    """A version to process, and how: a replay may force it or correct its phone."""

    version: Version
    force: bool = False
    corrected_phone: str | None = None


@dataclass
class Reference:
    """The records as applied so far, and what people typed into tickets."""

    records: dict[RecordKey, Record]
    typed: dict[tuple[str, str], str]  # (ticket, "title" or "description") to the text typed

    def results(self, before: State, request: Request, new_account: str, new_ticket: str) -> list[Expected]:
        """Return the allowed results; ids of new rows are given, because the database chooses them."""
        return list(Decision(self, before, request, new_account, new_ticket).results())


def effective_time(version: Version) -> datetime | None:
    """A time far in the future counts as the time of arrival."""
    if version.modified_at is None:
        return None
    if version.modified_at > version.arrived_at + timedelta(hours=FAR_FUTURE_HOURS):
        return version.arrived_at
    return version.modified_at


def merged(old: Fields, named: Fields) -> Fields:
    """A field that is not named keeps its value; one that is named empty loses it."""
    return {key: value for key, value in {**old, **named}.items() if value}


def staleness(version: Version, applied: list[Applied]) -> set[bool]:
    """Return what the check may say: {True}, {False}, or both where the text leaves it open."""
    at = effective_time(version)
    times = [earlier.at for earlier in applied if earlier.at is not None]
    if at is not None and times and at < max(times):
        return {True}
    answers = {
        version.arrived_at < earlier.arrived_at
        for earlier in applied
        if earlier.event != version.event and (at is None or earlier.at is None or at == earlier.at)
    }
    return answers or {False}


class Decision:
    """One version, decided against the state before it."""

    def __init__(
        self, reference: Reference, before: State, request: Request, new_account: str, new_ticket: str
    ) -> None:
        self.reference, self.before, self.request = reference, before, request
        self.version = request.version
        self.record = reference.records.get(self.version.record)
        self.new_account, self.new_ticket = new_account, new_ticket

    def results(self) -> Iterator[Expected]:
        if self.version.is_deletion:
            yield from self.deleted()
            return
        phones = self.phones()
        if not phones:
            yield self.invalid_phone()
            return
        stale = self.stale()
        if True in stale:
            yield self.nothing_applied("stale")
        if False in stale:
            for phone in phones:
                yield from self.applied(phone)

    def stale(self) -> set[bool]:
        if self.request.force or self.record is None:
            return {False}
        return staleness(self.version, self.record.applied)

    # Phone

    def phones(self) -> list[str]:
        """Return the phones that may decide; the first is the plain reading, none is invalid_phone."""
        if self.request.corrected_phone:
            return [self.request.corrected_phone]
        usable, record = self.version.usable, self.record
        if record is not None:
            if not usable or record.phone in usable or (record.corrected and usable == record.usable):
                return [record.phone]
        known = [phone for phone in usable if self.matches(phone)]
        return list(dict.fromkeys([*known[:1], *usable[:1]]))

    def matches(self, phone: str) -> list[str]:
        """Return the live accounts of a phone: by their own number, oldest first, else by the contact."""
        accounts = self.before.accounts
        own = [key for key, account in accounts.items() if account.is_live and account.phone == phone]
        if own:
            return sorted(own, key=lambda key: accounts[key].created_at)
        contact = self.before.contacts.get(phone)
        if contact and contact.account in accounts and accounts[contact.account].is_live:
            return [contact.account]
        return []

    # Account

    def winners(self, phone: str) -> list[str]:
        """Return the accounts that may win: the oldest match, else the ticket's, else a new one."""
        matches = self.matches(phone)[:1]
        ticket = self.ticket_of_record()
        if ticket is None or self.has_new_phone(phone):
            return matches or [self.new_account]
        account = self.before.accounts.get(ticket.account or "")
        if account is not None and account.is_live:
            return list(dict.fromkeys([*matches, str(ticket.account)]))
        return matches or [self.new_account, *([ticket.account] if ticket.account and account else [])]

    def has_new_phone(self, phone: str) -> bool:
        return self.record is not None and self.record.phone != phone

    def ticket_of_record(self) -> Ticket | None:
        return self.before.tickets.get(self.record.ticket or "") if self.record else None

    # What is written

    def applied(self, phone: str) -> Iterator[Expected]:
        record, named = self.record, self.version.fields
        if record is not None and not self.has_new_phone(phone):
            if merged(record.fields, named) == record.fields:
                yield self.nothing_applied("no_change")
                if not self.request.force:
                    return
            elif self.only_phones_rewritten():
                yield self.nothing_applied("no_change")
        for winner in self.winners(phone):
            for ticket, outcome in self.tickets(phone, winner):
                yield self.write(phone, winner, ticket, outcome)

    def only_phones_rewritten(self) -> bool:
        """True if the same usable phones are only written in another form or order."""
        assert self.record is not None
        others = {key: value for key, value in self.version.fields.items() if key != "phones"}
        same_phones = set(self.version.usable) == set(self.record.usable)
        return same_phones and merged(self.record.fields, others) == self.record.fields

    def tickets(self, phone: str, winner: str) -> Iterator[tuple[str | None, str]]:
        """Return (ticket, outcome): a ticket to update, the new one, or none."""
        open_ones = self.open_tickets_of(phone, winner)
        current = self.ticket_of_record()
        if current is not None and current.is_open:
            assert self.record is not None
            if not self.has_new_phone(phone):
                yield self.record.ticket, "ticket_updated"
                return
            others = [key for key in open_ones if key != self.record.ticket]
            if not self.is_shared(str(self.record.ticket)):
                yield self.record.ticket, "ticket_updated"
                yield from ((key, "ticket_updated") for key in others)
                return
            open_ones = others
        elif self.record is not None and self.record.ticket is not None:
            yield from ((key, "ticket_updated") for key in open_ones)
            opens = self.opens_a_ticket(phone)
            if True in opens and not open_ones:
                yield self.new_ticket, "ticket_created"
            if False in opens or current is None:
                yield None, "contact_updated"
            if current is None and not open_ones and True not in opens:
                yield self.new_ticket, "ticket_created"
            return
        yield from ((key, "ticket_updated") for key in open_ones)
        if not open_ones:
            yield self.new_ticket, "ticket_created"

    def opens_a_ticket(self, phone: str) -> set[bool]:
        """Tell whether a version may follow a closed ticket with a new one."""
        assert self.record is not None
        named, old = self.version.fields, self.record.fields
        changed = [key for key in APPLIED_FIELDS_THAT_OPEN_A_TICKET if key in named and named[key] != old.get(key)]
        if self.has_new_phone(phone) or any(named[key] for key in changed):
            return {True}
        if set(self.version.usable) - set(self.record.usable):
            return {True, False}
        return {False}

    def open_tickets_of(self, phone: str, winner: str) -> list[str]:
        """Return the open tickets that our events made, on the winner or on an account with the phone."""
        accounts = self.before.accounts
        return [
            key
            for key, ticket in self.before.tickets.items()
            if ticket.is_from_pancake and ticket.is_open and ticket.account is not None
            and (ticket.account == winner or accounts[ticket.account].phone == phone)
        ]  # fmt: skip

    def is_shared(self, ticket: str) -> bool:
        records = self.reference.records.items()
        return any(record.ticket == ticket for key, record in records if key != self.version.record)

    def write(self, phone: str, winner: str, ticket: str | None, outcome: str) -> Expected:
        state, version = self.before.copied(), self.version
        self.write_account(state, winner, phone)
        self.write_contacts(state, winner, phone)
        event = state.events[version.event]
        made_it = event.outcome == "ticket_created" and event.ticket == ticket
        named = self.record.ticket if self.record else None
        record = Record(
            fields=merged(self.record.fields if self.record else {}, version.fields),
            usable=version.usable or (self.record.usable if self.record else ()),
            corrected=self.is_corrected(phone),
            phone=phone,
            ticket=ticket or named,
            applied=[*(self.record.applied if self.record else []), self.as_applied(phone, ticket or named)],
        )
        state.events[version.event] = replace(
            event,
            status="processed",
            outcome="ticket_created" if made_it else outcome,
            error_code=ANY,
            phone=phone,
            account=OneOf(winner, state.tickets[ticket].account) if ticket in state.tickets else winner,
            ticket=ticket if ticket else OneOf(None, named),
        )
        expected = Expected(f"{outcome} for {phone}", state, record)
        self.write_ticket(expected, winner, phone, ticket)
        return expected

    def as_applied(self, phone: str, ticket: str | None) -> Applied:
        version = self.version
        return Applied(version.event, effective_time(version), version.arrived_at, phone, ticket)

    def is_corrected(self, phone: str) -> bool:
        if self.request.corrected_phone:
            return True
        return self.record is not None and self.record.corrected and phone == self.record.phone

    def write_account(self, state: State, winner: str, phone: str) -> None:
        name = self.version.fields.get("name") or None
        if winner == self.new_account:
            state.accounts[winner] = Account(phone, ANY, name=ANY)  # type: ignore[arg-type]
        elif name:
            state.accounts[winner].name = OneOf(state.accounts[winner].name, name)

    def write_contacts(self, state: State, winner: str, phone: str) -> None:
        """The winning phone's contact goes to the winner; other phones get one if they have none."""
        known = merged(self.record.fields if self.record else {}, self.version.fields)
        old = state.contacts.get(phone)
        row = replace(old, account=winner) if old else Contact(winner)
        for key in ("name", "email", "address"):
            value = self.version.fields.get(key) or (known.get(key) if old is None else None)
            if value or old is None:
                setattr(row, key, value or ANY)
        state.contacts[phone] = row
        for other in self.version.usable:
            state.contacts.setdefault(other, Contact(winner))

    def write_ticket(self, expected: Expected, winner: str, phone: str, ticket: str | None) -> None:
        if ticket is None:
            self.leave_closed_ticket(expected)
        elif ticket == self.new_ticket:
            self.create_ticket(expected, winner, phone)
        else:
            self.update_ticket(expected, winner, phone, ticket)

    def create_ticket(self, expected: Expected, winner: str, phone: str) -> None:
        state = expected.state
        assert expected.record is not None
        available = [key for key, staff in state.staff.items() if staff.is_available]
        state.tickets[self.new_ticket] = Ticket(
            account=winner,
            contact_phone=phone,
            owner=OneOf(*available) if available else None,
            status="new",
            source="ticket_source_pancake",
            title=ANY,
            description=ANY,
            fields=dict(expected.record.fields),
        )
        attention = [Told(NEEDS_ATTENTION, people) for people in (self.people("manager"), self.people("admin"))]
        if available:
            expected.must_tell = [Told(NEW_LEAD, OneOf(*(frozenset([key]) for key in available)))]  # type: ignore[arg-type]
            expected.may_tell = attention
        else:
            expected.must_tell = [Told(NEEDS_ATTENTION, OneOf(*self.not_empty()))] if self.not_empty() else []  # type: ignore[arg-type]

    def update_ticket(self, expected: Expected, winner: str, phone: str, key: str) -> None:
        """Write fields and composed texts; what a person typed, the owner and the status stay."""
        state, named = expected.state, self.version.fields
        ticket, old = state.tickets[key], self.before.tickets[key]
        assert isinstance(old.fields, dict)
        ticket.fields = merged(old.fields, named)
        ticket.title = self.reference.typed.get((key, "title"), ANY)
        ticket.description = self.reference.typed.get((key, "description"), ANY)
        if self.record is not None and self.record.ticket == key and self.has_new_phone(phone):
            ticket.account, ticket.contact_phone = winner, phone
            expected.must_tell.append(Told(NEEDS_ATTENTION, ANY))  # type: ignore[arg-type]
        else:
            ticket.contact_phone = OneOf(old.contact_phone, phone)
        recipients = self.owner_or_managers(ticket)
        is_change = self.record is None or merged(self.record.fields, named) != self.record.fields
        told = [Told(LEAD_UPDATED, OneOf(*recipients))] if recipients else []  # type: ignore[arg-type]
        if is_change and self.record is not None and not expected.must_tell:
            expected.must_tell = told
        elif is_change or expected.must_tell:
            expected.may_tell += told
        if recipients:
            expected.may_tell.append(Told(NEEDS_ATTENTION, ANY))  # type: ignore[arg-type]

    def leave_closed_ticket(self, expected: Expected) -> None:
        """Accept news in the data of a closed ticket, and word of it."""
        assert expected.record is not None
        ticket = expected.state.tickets.get(expected.record.ticket or "")
        if ticket is not None:
            assert isinstance(ticket.fields, dict)
            ticket.fields = OneOf(ticket.fields, merged(ticket.fields, self.version.fields))
            ticket.title = OneOf(ticket.title, self.reference.typed.get((str(expected.record.ticket), "title"), ANY))
            text = self.reference.typed.get((str(expected.record.ticket), "description"), ANY)
            ticket.description = OneOf(ticket.description, text)
        expected.may_tell = [Told(ANY, ANY)]  # type: ignore[arg-type]

    # Who is told

    def people(self, role: str) -> frozenset[str]:
        return frozenset(key for key, staff in self.before.staff.items() if staff.role == role and staff.active)

    def not_empty(self) -> list[frozenset[str]]:
        """Return the groups that a notice without an owner may go to: managers, admins or both."""
        managers, admins = self.people("manager"), self.people("admin")
        return [people for people in (managers, admins, managers | admins) if people]

    def owner_or_managers(self, ticket: Ticket) -> list[frozenset[str]]:
        owner = self.before.staff.get(str(ticket.owner))
        if owner is not None and owner.active:
            return [frozenset([str(ticket.owner)])]
        managers = self.people("manager")
        return [managers] if managers else self.not_empty()

    # Versions that are not applied

    def nothing_applied(self, outcome: str) -> Expected:
        """Only the event's own row is written; a replay keeps what was sent and that it made the ticket."""
        state, version = self.before.copied(), self.version
        event = state.events[version.event]
        made_it = event.outcome == "ticket_created"
        state.events[version.event] = replace(
            event,
            status="processed",
            outcome="ticket_created" if made_it else OneOf(outcome, event.outcome or outcome),
            error_code=ANY, phone=ANY, account=ANY, ticket=event.ticket if made_it else ANY,
        )  # fmt: skip
        record = self.record
        if outcome == "no_change" and record is not None:
            applied = [*record.applied, self.as_applied(record.phone, record.ticket)]
            record = replace(record, applied=applied, usable=version.usable or record.usable)
        return Expected(outcome, state, record, keeps_notifications=True)

    def invalid_phone(self) -> Expected:
        state = self.before.copied()
        state.events[self.version.event] = replace(
            state.events[self.version.event], status="dead_letter", error_code="invalid_phone"
        )
        return Expected("invalid_phone", state, self.record, may_tell=[Told(NEEDS_ATTENTION, ANY)])  # type: ignore[arg-type]

    def deleted(self) -> Iterator[Expected]:
        """A deletion makes no ticket and writes nothing; the owner of the open ticket is told."""
        stale = self.stale()
        if True in stale:
            yield self.nothing_applied("stale")
        if self.record is None and not self.version.usable:
            yield self.invalid_phone()
        if False in stale:
            state, record = self.before.copied(), self.record
            event = state.events[self.version.event]
            state.events[self.version.event] = replace(
                event, status="processed", outcome="record_deleted",
                error_code=ANY, phone=ANY, account=ANY, ticket=ANY,
            )  # fmt: skip
            if record is not None:
                record = replace(record, applied=[*record.applied, self.as_applied(record.phone, record.ticket)])
            expected = Expected("record_deleted", state, record)
            ticket = self.ticket_of_record()
            if ticket is not None and ticket.is_open and (recipients := self.owner_or_managers(ticket)):
                told = Told(OneOf(LEAD_UPDATED, NEEDS_ATTENTION), OneOf(*recipients))  # type: ignore[arg-type]
                expected.must_tell, expected.may_tell = [told], [told]
            yield expected
