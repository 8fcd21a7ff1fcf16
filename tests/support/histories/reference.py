"""The reference model: what becomes of a version, written from the specification alone.

`Decision.results` yields every result that the specification allows. More than one means that it leaves the
case open. What each result writes is in `writes.py`.
"""

from collections.abc import Iterator
from dataclasses import replace

from tests.support.histories.customers import Customers
from tests.support.histories.memory import Memory, counting_time, merged, staleness
from tests.support.histories.request import Request, Result
from tests.support.histories.state import Applied, State, Ticket, Version

FIELDS_THAT_OPEN_A_TICKET = ("sources", "interested_products")


class Decision:
    """One version against the state before it."""

    def __init__(self, memory: Memory, before: State, request: Request) -> None:
        self.memory, self.before, self.request = memory, before, request
        self.customers = Customers(before, memory)
        self.record = memory.records.get(request.version.record)
        self.version = request.version
        if self.keeps_phones():
            fields = {key: value for key, value in self.version.fields.items() if key != "phones"}
            self.version = replace(self.version, fields=fields)

    def results(self) -> Iterator[Result]:
        if not self.version.is_deletion and self.may_be_invalid():
            yield Result("invalid_phone")
            if not self.phones():
                return
        stale = self.stale()
        if True in stale:
            yield from self.stale_results()
        if False in stale:
            yield from self.deleted() if self.version.is_deletion else self.applied()

    def is_far_ahead(self) -> bool:
        return counting_time(self.version) != self.version.modified_at

    def keeps_phones(self) -> bool:
        """A version without a usable phone of a known record keeps the phones that were applied."""
        has_phone = self.version.usable or self.request.corrected_phone
        return not has_phone and (self.record is not None or any(each.usable for each in self.deletions()))

    def stale(self) -> set[bool]:
        """The text does not say whether a deletion of an unknown record makes older versions stale."""
        if self.request.force:
            return {False}
        applied = self.record.applied if self.record else ()
        deletions = (
            Applied(each.event, counting_time(each), each.arrived_at)
            for each in self.memory.deletions.get(self.version.record, ())
        )
        return staleness(self.version, applied) | staleness(self.version, (*applied, *deletions))

    def deletions(self) -> tuple[Version, ...]:
        """Return the deletions of a record of which nothing else was applied."""
        return self.memory.deletions.get(self.version.record, ()) if self.record is None else ()

    def may_be_invalid(self) -> bool:
        """The text does not say whether a deletion's phone counts as applied."""
        return self.record is None and not self.request.corrected_phone and not self.version.usable

    def stale_results(self) -> Iterator[Result]:
        """Of two copies of a version, the older one may still name fields that no version named before."""
        part = self.new_part()
        if part is None or part is not self.version:
            yield Result("stale")
        if part is not None:
            whole, request = self.version, self.request
            self.version, self.request = part, replace(request, corrected_phone=None)
            yield from self.applied()
            self.version, self.request = whole, request

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

    def deleted(self) -> Iterator[Result]:
        if self.record is None and not self.version.usable:
            yield Result("invalid_phone")
        yield Result("record_deleted")
        if self.is_after_deletion():
            yield Result("no_change")

    def applied(self) -> Iterator[Result]:
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
            return (
                [record.phone]
                if record
                else [phone for each in self.deletions()[-1:] for phone in each.usable[:1]]
            )
        known = [phone for phone in usable if self.customers.matches(phone)] if self.is_new_customer() else []
        applied = [record.phone] if record and record.phone in usable else []
        return list(dict.fromkeys([*known[:1], usable[0], *applied]))

    def is_new_customer(self) -> bool:
        return self.record is None or self.has_new_phone()

    def usable(self) -> tuple[str, ...]:
        """Return the phones of the version, or those applied before if it has none."""
        if self.request.corrected_phone:
            return (self.request.corrected_phone,)
        return self.version.usable or (self.record.usable if self.record else ())

    def has_new_phone(self) -> bool:
        """Tell whether the phone applied before is no longer one of the record's phones."""
        if self.record is None:
            return False
        is_named = self.request.corrected_phone or self.version.usable
        return bool(is_named) and self.record.phone not in self.usable()

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
        return self.request.force or not is_same or self.is_after_deletion()

    def is_after_deletion(self) -> bool:
        return self.record is not None and self.record.is_deleted

    # Account

    def winners(self, phone: str) -> list[str]:
        """Return the accounts that may win.

        That of the phone, else of another phone of the version; for a phone that is not new also the account
        of the record or of its ticket; else a new one.
        """
        others = self.usable() if phone in self.usable() else ()
        found = self.customers.of_phones((phone, *others))
        known: list[str] = []
        if self.record is not None and not self.has_new_phone():
            ticket = self.ticket_of_record()
            known = [str(key) for key in ((ticket.account if ticket else None), self.record.account) if key]
        if any(self.before.accounts[key].is_live for key in known):
            found = [key for key in found if key != Customers.NEW]
        found += [key for key in known if not self.before.accounts[key].deleted]
        return list(dict.fromkeys(key or self.request.new_account for key in found))

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
        found = self.customers.open_tickets(phone, winner)
        yield from (("ticket_updated", key) for key in found)
        if not any(self.customers.is_in_the_way(key, phone, winner) for key in found):
            yield "ticket_created", self.request.new_ticket

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
            others = [key for key in self.customers.open_tickets(phone, winner) if key != ticket]
            yield from (("ticket_updated", key) for key in others)

    def after_a_closed_ticket(
        self, phone: str, winner: str, *, is_deleted: bool
    ) -> Iterator[tuple[str, str | None]]:
        """A new phone, product or source makes a new ticket; the text is silent on a ticket that is gone."""
        opens = self.opens_a_ticket()
        if True in opens or is_deleted or self.customers.open_tickets(phone, winner):
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
        return {True, False} if set(self.usable()) - set(known) else {False}

    def is_shared(self, ticket: str) -> bool:
        others = (record for key, record in self.memory.records.items() if key != self.version.record)
        return any(record.ticket == ticket for record in others)
