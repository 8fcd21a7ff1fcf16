"""The reference model: what becomes of a version, written from the specification alone.

`Decision.results` yields every result that the specification allows. More than one means that it leaves the
case open. What each result writes is in `writes.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.support.histories.state import Account, Applied, Fields, Record, RecordKey, State, Ticket, Version

FAR_FUTURE = timedelta(hours=48)
FIELDS_THAT_OPEN_A_TICKET = ("sources", "interested_products")


@dataclass(frozen=True)
class Request:
    """A version to process. A replay may force it or correct its phone. New rows get the ids given here."""

    version: Version
    force: bool = False
    corrected_phone: str | None = None
    new_account: str = "new account"
    new_ticket: str = "new ticket"


@dataclass
class Memory:
    """What was applied of each record, and what people typed into tickets: (ticket, column) to the text."""

    records: dict[RecordKey, Record] = field(default_factory=dict)
    typed: dict[tuple[str, str], str] = field(default_factory=dict)


def counting_time(version: Version) -> datetime | None:
    """Return the time that a version counts with; one far in the future counts as its arrival."""
    if version.modified_at is None:
        return None
    is_far = version.modified_at > version.arrived_at + FAR_FUTURE
    return version.arrived_at if is_far else version.modified_at


def merged(old: Fields, named: Fields) -> Fields:
    """Return the fields with a value: one that is not named keeps it, one that is named empty loses it."""
    return {key: value for key, value in {**old, **named}.items() if value}


def staleness(version: Version, applied: tuple[Applied, ...]) -> set[bool]:
    """Return what the check may answer: both if the rules for equal and for missing times contradict."""
    at = counting_time(version)
    times = [earlier.at for earlier in applied if earlier.at is not None]
    if at is not None and times and at < max(times):
        return {True}
    others = [earlier for earlier in applied if earlier.event != version.event]
    by_arrival = [earlier for earlier in others if at is None or earlier.at is None or at == earlier.at]
    return {version.arrived_at < earlier.arrived_at for earlier in by_arrival} or {False}


class Decision:
    """One version against the state before it."""

    def __init__(self, memory: Memory, before: State, request: Request) -> None:
        self.memory, self.before, self.request = memory, before, request
        self.version = request.version
        self.record = memory.records.get(self.version.record)

    def results(self) -> Iterator["Result"]:
        if not self.version.is_deletion and not self.phones():
            yield Result("invalid_phone")
            return
        stale = self.stale()
        if True in stale:
            yield Result("stale")
        if False in stale:
            yield from self.deleted() if self.version.is_deletion else self.applied()

    def stale(self) -> set[bool]:
        if self.request.force or self.record is None:
            return {False}
        return staleness(self.version, self.record.applied)

    def deleted(self) -> Iterator["Result"]:
        if self.record is None and not self.version.usable:
            yield Result("invalid_phone")
        yield Result("record_deleted")

    def applied(self) -> Iterator["Result"]:
        for phone in self.phones():
            if self.may_change_nothing(phone):
                yield Result("no_change")
            if self.changes_something(phone):
                for winner in self.winners(phone):
                    for outcome, ticket in self.tickets(phone, winner):
                        yield Result(outcome, phone, winner, ticket)

    # Phone

    def phones(self) -> list[str]:
        """Return the phones that may decide. Without a usable one the phone applied before decides."""
        if self.request.corrected_phone:
            return [self.request.corrected_phone]
        usable, record = self.version.usable, self.record
        if record is not None:
            is_corrected_still = record.is_corrected and usable == record.usable
            if not usable or record.phone in usable or is_corrected_still:
                return [record.phone]
        known = [phone for phone in usable if self.matches(phone)]
        return list(dict.fromkeys([*known[:1], *usable[:1]]))

    def has_new_phone(self, phone: str) -> bool:
        return self.record is not None and self.record.phone != phone

    # No change

    def changed_fields(self) -> set[str]:
        """Return the fields that differ from the version applied last."""
        old = self.record.fields if self.record else {}
        new = merged(old, self.version.fields)
        return {key for key in {*old, *new} if old.get(key) != new.get(key)}

    def has_same_phones(self) -> bool:
        """Return whether the same usable phones are only written in another form or order."""
        return self.record is not None and set(self.version.usable) == set(self.record.usable)

    def may_change_nothing(self, phone: str) -> bool:
        if self.record is None or self.has_new_phone(phone):
            return False
        changed = self.changed_fields()
        return not changed or (changed == {"phones"} and self.has_same_phones())

    def changes_something(self, phone: str) -> bool:
        """A forced version may be written again though it changes nothing."""
        is_same = self.record is not None and not self.has_new_phone(phone) and not self.changed_fields()
        return self.request.force or not is_same

    # Account

    def matches(self, phone: str) -> list[str]:
        """Return the live accounts with the phone, oldest first; without one, that of the phone's contact."""
        live = {key: account for key, account in self.before.accounts.items() if account.is_live}
        if own := self.accounts_with(phone, among=live):
            return own
        contact = self.before.contacts.get(phone)
        return [contact.account] if contact and contact.account in live else []

    def accounts_with(self, phone: str, among: Mapping[str, Account]) -> list[str]:
        """Return the accounts whose own number it is, oldest first."""
        found = [key for key, account in among.items() if account.phone == phone]
        return sorted(found, key=lambda key: among[key].created_at)  # type: ignore[arg-type, return-value]

    def winners(self, phone: str) -> list[str]:
        """Return the accounts that may win: the oldest match or, if the phone is not new, the ticket's."""
        matches, others = self.matches(phone)[:1], self.instead_of_a_match(phone)
        ticket = self.ticket_of_record()
        if ticket is None or ticket.account is None or self.has_new_phone(phone):
            return matches or others
        if self.before.accounts[ticket.account].is_live:
            return list(dict.fromkeys([*matches, ticket.account]))
        return matches or [*others, ticket.account]

    def instead_of_a_match(self, phone: str) -> list[str]:
        """A new account; the text does not say whether a disabled one with the phone is better."""
        kept = {key: account for key, account in self.before.accounts.items() if not account.deleted}
        return [self.request.new_account, *self.accounts_with(phone, among=kept)[:1]]

    # Ticket

    def ticket_of_record(self) -> Ticket | None:
        return self.before.tickets.get(self.record.ticket or "") if self.record else None

    def tickets(self, phone: str, winner: str) -> Iterator[tuple[str, str | None]]:
        """Yield outcome and ticket: one to update, the new one, or None if no ticket is written."""
        record, ticket = self.record, self.ticket_of_record()
        if self.version.record[1] != "lead":
            yield "contact_updated", None
        elif record is None or record.ticket is None:
            yield from self.customers_tickets(phone, winner)
        elif ticket is not None and ticket.is_open:
            yield from self.open_ticket_of_record(phone, winner, record.ticket)
        else:
            yield from self.after_a_closed_ticket(phone, winner, is_deleted=ticket is None)

    def customers_tickets(self, phone: str, winner: str, but: str = "") -> Iterator[tuple[str, str | None]]:
        """Update an open ticket of the customer, else create one."""
        found = [key for key in self.open_tickets(phone, winner) if key != but]
        yield from (("ticket_updated", key) for key in found)
        if not found:
            yield "ticket_created", self.request.new_ticket

    def open_ticket_of_record(self, phone: str, winner: str, ticket: str) -> Iterator[tuple[str, str | None]]:
        """A new phone takes the ticket along, unless another record has it too.

        The customer of the new phone may have an open ticket already: the text does not say what comes first.
        """
        if not self.has_new_phone(phone):
            yield "ticket_updated", ticket
        elif self.is_shared(ticket):
            yield from self.customers_tickets(phone, winner, but=ticket)
        else:
            yield "ticket_updated", ticket
            others = [key for key in self.open_tickets(phone, winner) if key != ticket]
            yield from (("ticket_updated", key) for key in others)

    def after_a_closed_ticket(
        self, phone: str, winner: str, *, is_deleted: bool
    ) -> Iterator[tuple[str, str | None]]:
        """A new phone, product or source makes a new ticket; the text is silent on a ticket that is gone."""
        opens = self.opens_a_ticket(phone)
        if True in opens or is_deleted or self.open_tickets(phone, winner):
            yield from self.customers_tickets(phone, winner)
        if False in opens:
            yield "contact_updated", None

    def opens_a_ticket(self, phone: str) -> set[bool]:
        changed = self.changed_fields() & set(FIELDS_THAT_OPEN_A_TICKET)
        if self.has_new_phone(phone) or any(self.version.fields.get(key) for key in changed):
            return {True}
        known = self.record.usable if self.record else ()
        return {True, False} if set(self.version.usable) - set(known) else {False}

    def open_tickets(self, phone: str, winner: str) -> list[str]:
        """Return the open tickets that our events made, on the winner or on any account with the phone."""
        same_phone = {key for key, account in self.before.accounts.items() if account.phone == phone}
        return [
            key
            for key, ticket in self.before.tickets.items()
            if ticket.is_from_pancake and ticket.is_open and ticket.account in {winner, *same_phone}
        ]

    def is_shared(self, ticket: str) -> bool:
        others = (record for key, record in self.memory.records.items() if key != self.version.record)
        return any(record.ticket == ticket for record in others)


@dataclass(frozen=True)
class Result:
    """A decision: the outcome, and for a version that is written the phone, the account and the ticket."""

    outcome: str
    phone: str = ""
    winner: str = ""
    ticket: str | None = None
