"""The reference model: the result of a version, written from the specification alone.

`Decision.result` is what the specification and docs/decisions demand. What a result writes is in `writes.py`.
"""

from collections.abc import Mapping
from dataclasses import replace

from tests.support.histories.customers import Customers
from tests.support.histories.memory import Memory, counting_time, is_stale, merged
from tests.support.histories.request import Request, Result
from tests.support.histories.state import Fields, Record, SourceKey, State, Ticket, Version
from tests.support.histories.vocabulary import flattened, number_of, usable

FIELDS_THAT_OPEN_A_TICKET = ("sources", "interested_products")


class Decision:
    """One version against the state before it."""

    def __init__(self, memory: Memory, before: State, request: Request) -> None:
        self.memory, self.before, self.request = memory, before, request
        self.customers = Customers(before, memory)
        self.record = memory.records.get(request.version.record)
        self.version = request.version
        if not self.version.usable and not request.corrected_phone and self.record is not None:
            # A version without a usable phone of a known record keeps the phones that were applied.
            self.version = replace(self.version, fields=_without_phones(self.version.fields), typed={})
        elif self.record is not None and not request.corrected_phone:
            self.version = _with_phones_of_other_keys(self.version, self.record)

    def result(self) -> Result:
        if not self.before.is_active(self.request.version):
            return Result("skipped_source_disabled")
        if not self.version.is_deletion and not self.phones():
            return Result("invalid_phone")
        if self.is_stale():
            part = self.new_part()
            if part is None:
                return Result("stale")
            self.version = part
            if "phones" not in part.fields:
                self.request = replace(self.request, corrected_phone=None)
        if self.version.is_deletion:
            return Result("record_deleted")
        return Result("no_change") if self.changes_nothing() else self.applied()

    def is_far_ahead(self) -> bool:
        return counting_time(self.version) != self.version.modified_at

    def is_stale(self) -> bool:
        applied = self.record.applied if self.record else ()
        return not self.request.force and is_stale(self.version, applied)

    def new_part(self) -> Version | None:
        """Of two copies of a version, the older one may name fields that no version named before."""
        version, record = self.version, self.record
        at = counting_time(version)
        if record is None or version.is_deletion or at is None:
            return None
        if at != max((each.at for each in record.applied if each.at is not None), default=None):
            return None
        new = {key: value for key, value in version.fields.items() if value and key not in record.named}
        if not new:
            return None
        usable, typed = (version.usable, version.typed) if "phones" in new else ((), {})
        return replace(version, fields=new, usable=usable, typed=typed)

    def roster(self) -> SourceKey | None:
        return self.before.roster_of(self.request.version)

    def applied(self) -> Result:
        phone = self.phones()[0]
        winner, matched = self.winner()
        outcome, ticket = self.ticket(phone, winner)
        return Result(outcome, phone, winner, ticket, matched)

    # Phone

    def phones(self) -> tuple[str, ...]:
        """Return the phones of the version, or those applied before if it has none; the first one decides.

        That is the phone applied before, as long as it is among them.
        """
        record = self.record
        if self.request.corrected_phone:
            return (self.request.corrected_phone,)
        named = self.version.usable or (record.usable if record else ())
        if record is not None and record.phone in named:
            return tuple(dict.fromkeys([str(record.phone), *named]))
        return named

    def typed(self) -> Mapping[str, tuple[str, ...]]:
        """Return the phones by the key that names them; a corrected one takes the place of all."""
        if self.request.corrected_phone:
            return {"phone_number": (self.request.corrected_phone,)}
        return self.version.typed or (self.record.typed if self.record else {})

    def has_new_phone(self) -> bool:
        """Tell whether the phone applied before is no longer one of the record's phones."""
        record = self.record
        return record is not None and record.phone is not None and record.phone not in self.phones()

    # No change

    def is_first(self) -> bool:
        """Tell whether no version of the record named a field before; a deletion names none."""
        return self.record is None or not self.record.named

    def changed_fields(self) -> set[str]:
        """Return the fields that differ from the version applied last."""
        old = self.record.fields if self.record else {}
        new = merged(old, self.version.fields)
        return {key for key in {*old, *new} if _value(key, old.get(key)) != _value(key, new.get(key))}

    def changes_nothing(self) -> bool:
        """A forced version is written again though it changes nothing, and one after a deletion."""
        return not self.request.force and self.is_unchanged()

    def is_unchanged(self) -> bool:
        if self.record is None or self.record.is_deleted:
            return False
        return not self.has_new_phone() and not self.changed_fields()

    # Account

    def winner(self) -> tuple[str, str | None]:
        """Return the customer's account, and the phone that is its own, if it was found by that.

        That is the account of the first phone that leads to one; for a phone that is not new else that of the
        record's ticket or of the record; else a new one.
        """
        accounts = self.before.accounts
        for phone in self.phones():
            if found := self.customers.match(phone):
                return found, phone if accounts[found].phone == phone else None
        if self.record is not None and not self.has_new_phone():
            ticket = self.ticket_of_record()
            for key in (ticket.account if ticket else None, self.record.account):
                if key in accounts and not accounts[str(key)].deleted:
                    return str(key), None
        return self.request.new_account, self.phones()[0]

    # Ticket

    def ticket_of_record(self) -> Ticket | None:
        return self.before.tickets.get(self.record.ticket or "") if self.record else None

    def open_ticket_of_record(self) -> str | None:
        ticket = self.ticket_of_record()
        return self.record.ticket if self.record and ticket and ticket.is_open else None

    def ticket(self, phone: str, winner: str) -> tuple[str, str | None]:
        """Return outcome and ticket: one to update, the new one, or None if no ticket is written.

        After a new phone the customer's open ticket comes first; else the record takes its own along, unless
        another record has it too.
        """
        own, created = self.open_ticket_of_record(), ("ticket_created", self.request.new_ticket)
        if self.version.record[1] != "lead":
            return "contact_updated", None
        found = self.open_tickets(phone, winner)
        if own in found or (own and not self.has_new_phone()):
            return "ticket_updated", own
        if found:
            return "ticket_updated", found[0]
        if own:
            return created if self.is_shared(own) else ("ticket_updated", own)
        has_had_one = self.record is not None and self.record.ticket is not None
        return ("contact_updated", None) if has_had_one and not self.opens_a_ticket() else created

    def open_tickets(self, phone: str, winner: str) -> list[str]:
        """Return the customer's open tickets, those of the phone that led to the customer included."""
        led = next((each for each in self.phones() if self.customers.match(each)), None)
        return self.customers.open_tickets(phone, winner, led)

    def opens_a_ticket(self) -> bool:
        """After a ticket that was closed or deleted: a new phone, product or source, or a person's demand."""
        old = self.record.fields if self.record else {}
        new = [
            set(self.version.fields.get(key, ())) - set(old.get(key, ())) for key in FIELDS_THAT_OPEN_A_TICKET
        ]
        new.append(set(self.phones()) - set(self.record.usable if self.record else ()))
        return self.request.force or any(new)

    def is_shared(self, ticket: str) -> bool:
        others = (record for key, record in self.memory.records.items() if key != self.version.record)
        return any(record.ticket == ticket for record in others)


def _with_phones_of_other_keys(version: Version, record: Record) -> Version:
    """A key that the body does not name keeps its phones."""
    if not version.typed:
        return version
    typed = {**record.typed, **version.typed}
    phones = flattened(typed)
    return replace(version, fields={**version.fields, "phones": phones}, usable=usable(phones), typed=typed)


def _without_phones(fields: Fields) -> Fields:
    return {key: value for key, value in fields.items() if key != "phones"}


def _value(key: str, value: str | tuple[str, ...] | None) -> object:
    """Phones are compared by their numbers, in any order."""
    return {number_of(text) or text for text in value} if key == "phones" and value else value
