"""The reference model: what becomes of a version, written from the specification alone.

`Decision.results` yields every result that the specification allows. More than one means that it leaves the
case open. What each result writes is in `writes.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tests.support.histories.state import Applied, Fields, Record, RecordKey, State, Ticket, Version

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
    """What was applied of each record, and what people typed.

    `deletions` are those of records of which nothing else was applied. `typed` maps a ticket and a column to
    the text, `former_phones` an account to the numbers that it had.
    """

    records: dict[RecordKey, Record] = field(default_factory=dict)
    deletions: dict[RecordKey, tuple[Applied, ...]] = field(default_factory=dict)
    typed: dict[tuple[str, str], str] = field(default_factory=dict)
    former_phones: dict[str, set[str]] = field(default_factory=dict)

    def remember(self, version: Version, record: Record | None, *, is_deletion: bool) -> None:
        """Remember what became of a version's record."""
        if record is not None:
            self.records[version.record] = record
        elif is_deletion:
            deletion = Applied(version.event, counting_time(version), version.arrived_at)
            self.deletions[version.record] = (*self.deletions.get(version.record, ()), deletion)


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
            yield from self.stale_results()
        if False in stale:
            yield from self.deleted() if self.version.is_deletion else self.applied()

    def stale(self) -> set[bool]:
        """The text does not say whether a deletion of an unknown record makes older versions stale."""
        if self.request.force:
            return {False}
        if self.record is None:
            return {False} | staleness(self.version, self.memory.deletions.get(self.version.record, ()))
        return staleness(self.version, self.record.applied)

    def stale_results(self) -> Iterator["Result"]:
        """Of two copies of a version, the older one may still name fields that no version named before."""
        part = self.new_part()
        if part is None or part is not self.version:
            yield Result("stale")
        if part is not None:
            whole, self.version = self.version, part
            yield from self.applied()
            self.version = whole

    def new_part(self) -> Version | None:
        version, record = self.version, self.record
        at = counting_time(version)
        if (
            record is None
            or version.is_deletion
            or at is None
            or at not in [each.at for each in record.applied]
        ):
            return None
        new = {key: value for key, value in version.fields.items() if value and key not in record.named}
        return replace(version, fields=new, usable=version.usable if "phones" in new else ()) if new else None

    def deleted(self) -> Iterator["Result"]:
        if self.record is None and not self.version.usable:
            yield Result("invalid_phone")
        yield Result("no_change" if self.record and self.record.is_deleted else "record_deleted")

    def applied(self) -> Iterator["Result"]:
        if self.may_change_nothing():
            yield Result("no_change")
        if not self.changes_something():
            return
        for phone in self.phones():
            for winner in self.winners(phone):
                for outcome, ticket in self.tickets(phone, winner):
                    yield Result(outcome, phone, winner, ticket)

    # Phone

    def phones(self) -> list[str]:
        """Return the phones that may decide. Without a usable one the phone applied before decides."""
        if self.request.corrected_phone:
            return [self.request.corrected_phone]
        usable, record = self.version.usable, self.record
        if not usable:
            return [record.phone] if record else []
        known = [phone for phone in usable if self.matches(phone)] if self.is_new_customer() else []
        applied = [record.phone] if record and record.phone in usable else []
        return list(dict.fromkeys([*known[:1], usable[0], *applied]))

    def is_new_customer(self) -> bool:
        return self.record is None or self.has_new_phone()

    def has_new_phone(self) -> bool:
        """Tell whether the phone applied before is no longer one of the record's phones."""
        if self.record is None:
            return False
        corrected, usable = self.request.corrected_phone, self.version.usable
        return self.record.phone not in ((corrected,) if corrected else usable or (self.record.phone,))

    # No change

    def changed_fields(self) -> set[str]:
        """Return the fields that differ from the version applied last."""
        old = self.record.fields if self.record else {}
        new = merged(old, self.version.fields)
        return {key for key in {*old, *new} if old.get(key) != new.get(key)}

    def has_same_phones(self) -> bool:
        """Return whether the same usable phones are only written in another form or order."""
        return self.record is not None and set(self.version.usable) == set(self.record.usable)

    def may_change_nothing(self) -> bool:
        if self.record is None or self.has_new_phone():
            return False
        changed = self.changed_fields()
        return not changed or (changed == {"phones"} and self.has_same_phones())

    def changes_something(self) -> bool:
        """A forced version may be written again though it changes nothing, and one after a deletion."""
        is_same = self.record is not None and not self.has_new_phone() and not self.changed_fields()
        return self.request.force or not is_same or (self.record is not None and self.record.is_deleted)

    # Account

    def matches(self, phone: str) -> list[str]:
        """Return the accounts that the phone may lead to; empty if it leads to none.

        The oldest live one with that number, else that of the phone's contact. Without a live number the text
        does not say whether a disabled account is better. A number that the contact's account had before a
        person changed it may lead to it or not; then NEW is among the answers.
        """
        accounts = self.before.accounts
        own = sorted(
            (key for key, account in accounts.items() if account.phone == phone and not account.deleted),
            key=lambda key: accounts[key].created_at,  # type: ignore[arg-type, return-value]
        )
        if live := [key for key in own if accounts[key].enabled]:
            return live[:1]
        contact = self.before.contacts.get(phone)
        found = [contact.account] if contact and contact.account in accounts else []
        known = [key for key in (*own[:1], *found) if key and not accounts[key].deleted]
        is_former = any(phone in self.memory.former_phones.get(key, ()) for key in known)
        is_certain = any(accounts[key].enabled for key in known) and not is_former
        return known if is_certain or not known else [*known, self.request.new_account]

    def winners(self, phone: str) -> list[str]:
        """Return the accounts that may win.

        That of the phone, else of another phone of the version; for a phone that is not new also the account
        of the record or of its ticket; else a new one.
        """
        phones = [phone, *(self.version.usable if phone in self.version.usable else ())]
        matches = next((found for each in phones if (found := self.matches(each))), [])
        known: list[str] = []
        if self.record is not None and not self.has_new_phone():
            ticket = self.ticket_of_record()
            known = [key for key in ((ticket.account if ticket else None), self.record.account) if key]
        is_live = any(self.before.accounts[key].is_live for key in known)
        known = [key for key in known if not self.before.accounts[key].deleted]
        others = [] if matches or is_live else [self.request.new_account]
        return list(dict.fromkeys([*matches, *known, *others]))

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

    def customers_tickets(self, phone: str, winner: str) -> Iterator[tuple[str, str | None]]:
        """Update an open ticket of the customer, else create one."""
        found = self.open_tickets(phone, winner)
        yield from (("ticket_updated", key) for key in found)
        if all(self.is_on_a_deleted_account(key) for key in found):
            yield "ticket_created", self.request.new_ticket

    def is_on_a_deleted_account(self, ticket: str) -> bool:
        """Tell whether a ticket may count as out of the way, because its account was deleted."""
        account = self.before.tickets[ticket].account
        return account is not None and self.before.accounts[account].deleted

    def open_ticket_of_record(self, phone: str, winner: str, ticket: str) -> Iterator[tuple[str, str | None]]:
        """A new phone takes the ticket along, unless another record has it too.

        The customer of the new phone may have an open ticket already: the text does not say what comes first.
        """
        if not self.has_new_phone():
            yield "ticket_updated", ticket
        elif self.is_shared(ticket):
            yield from self.customers_tickets(phone, winner)
        else:
            yield "ticket_updated", ticket
            others = [key for key in self.open_tickets(phone, winner) if key != ticket]
            yield from (("ticket_updated", key) for key in others)

    def after_a_closed_ticket(
        self, phone: str, winner: str, *, is_deleted: bool
    ) -> Iterator[tuple[str, str | None]]:
        """A new phone, product or source makes a new ticket; the text is silent on a ticket that is gone."""
        opens = self.opens_a_ticket()
        if True in opens or is_deleted or self.open_tickets(phone, winner):
            yield from self.customers_tickets(phone, winner)
        if False in opens:
            yield "contact_updated", None

    def opens_a_ticket(self) -> set[bool]:
        if self.request.force:
            return {True, False}
        changed = self.changed_fields() & set(FIELDS_THAT_OPEN_A_TICKET)
        if self.has_new_phone() or any(self.version.fields.get(key) for key in changed):
            return {True}
        known = self.record.usable if self.record else ()
        return {True, False} if set(self.version.usable) - set(known) else {False}

    def open_tickets(self, phone: str, winner: str) -> list[str]:
        """Return the open tickets that our events made, on the winner or on any account with its phone."""
        accounts = self.before.accounts
        phones = {phone, accounts[winner].phone if winner in accounts else phone} - {None}
        same = {winner, *(key for key, account in accounts.items() if account.phone in phones)}
        return [
            key
            for key, ticket in self.before.tickets.items()
            if ticket.is_from_pancake and ticket.is_open and ticket.account in same
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
