"""Find and lock the rows of a customer, in the order in which processing locks."""

from dataclasses import dataclass
from uuid import UUID

from leads.domain.digest import PHONE, Digester
from leads.domain.errors import Contended
from leads.domain.phone import stored_digits
from leads.services.load_facts import RecordKey, lock_phones_statement, lock_records_statement
from ops.clients.db_session import QUERIES, DbSession
from ops.erase.target import Target
from ops.failures import CommandFailed

MAX_BODIES = 100_000


@dataclass(frozen=True, slots=True)
class CustomerEvent:
    """A row of erase/find_events."""

    id: int
    connection_id: UUID
    table_name: str
    record_id: str | None
    account_id: UUID | None
    ticket_id: UUID | None
    phones: list[str]
    phone_digests: list[str]


@dataclass(frozen=True, slots=True)
class Customer:
    """What was found. `phones` are those that only this customer's events name.

    `mentions` are events of other records that name the phone somewhere in their body.
    """

    events: list[CustomerEvent]
    phones: list[str]
    mentions: list[int]

    @property
    def event_ids(self) -> list[int]:
        return [event.id for event in self.events]

    @property
    def records(self) -> list[RecordKey]:
        keys = {
            RecordKey(event.connection_id, event.table_name, event.record_id): None
            for event in self.events
            if event.record_id is not None
        }
        return list(keys)

    @property
    def record_ids(self) -> list[str]:
        return sorted({record.record_id for record in self.records})

    @property
    def account_ids(self) -> list[UUID]:
        return sorted({event.account_id for event in self.events if event.account_id})

    @property
    def ticket_ids(self) -> list[UUID]:
        return sorted({event.ticket_id for event in self.events if event.ticket_id})

    @property
    def stored_digits(self) -> list[str]:
        return [digits for phone in self.phones for digits in stored_digits(phone)]


def find_and_lock(db: DbSession, target: Target, digester: Digester) -> Customer:
    """Lock the customer's events, records and phones until the transaction ends.

    The rows come first, as in processing: it locks its event before the record and the phones. Raises
    Contended if another event of the customer came meanwhile.
    """
    db.execute(QUERIES["erase/set_limits"])
    customer = find(db, target, digester)
    db.execute(QUERIES["erase/lock_events"], {"ids": customer.event_ids})
    phones = sorted({*customer.phones, *(phone for event in customer.events for phone in event.phones)})
    for name, params in (
        lock_records_statement(customer.record_ids),
        lock_phones_statement(customer.records, phones),
    ):
        db.execute(QUERIES[name], params)
    found = find(db, target, digester)
    if not set(found.event_ids) <= set(customer.event_ids):
        raise Contended("Another event of the customer was stored meanwhile.")
    return found


def find(db: DbSession, target: Target, digester: Digester) -> Customer:
    """Find the customer's events, with those whose body alone shows it."""
    named = _find_bodies(db, target) if target.phone else []
    params = {
        "phone": target.phone,
        "phone_digests": digester.digests(PHONE, target.phone) if target.phone else [],
        "ids": [event_id for event_id, is_of in named if is_of],
        "connection_id": target.connection_id,
        "table_name": target.table_name,
        "record_id": target.record_id,
    }
    rows = db.execute(QUERIES["erase/find_events"], params).fetchall()
    events = [CustomerEvent(**row) for row in rows]
    ids = [event.id for event in events]
    phones = sorted(_phones_of(db, events, digester) - {target.phone or ""})
    own = db.execute(QUERIES["erase/find_phones"], {"phones": phones, "ids": ids}).fetchall()
    found = [row["phone"] for row in own]
    mentions = [event_id for event_id, is_of in named if not is_of and event_id not in ids]
    return Customer(events, [target.phone, *found] if target.phone else found, mentions)


def _phones_of(db: DbSession, events: list[CustomerEvent], digester: Digester) -> set[str]:
    """Return the phones of events; those that retention emptied are found among the customer's contacts."""
    accounts = [event.account_id for event in events if event.account_id]
    contacts = db.execute(QUERIES["erase/list_contacts"], {"account_ids": accounts}).fetchall()
    listed = [row["phone"] for row in contacts]
    digests = {digest for event in events for digest in event.phone_digests}
    found = {digester.find_phone(digest, listed) for digest in digests}
    return {phone for event in events for phone in event.phones} | {phone for phone in found if phone}


def _find_bodies(db: DbSession, target: Target) -> list[tuple[int, bool]]:
    """Return the events whose body names the phone, and whether it is the customer's body.

    Raises CommandFailed if there are too many bodies to look at.
    """
    params = {"pattern": target.pattern, "limit": MAX_BODIES + 1}
    bodies = [
        (row["id"], row["raw"] if row["payload"] is None else row["payload"].encode())
        for row in db.execute(QUERIES["erase/find_mentions"], params)
    ]
    if len(bodies) > MAX_BODIES:
        raise CommandFailed(
            f"More than {MAX_BODIES} stored bodies may name the phone: nothing was erased. "
            "Wait for retention, or shorten held_retention_days."
        )
    return [
        (event_id, target.is_of(raw))
        for event_id, raw in bodies
        if target.is_in(raw.decode(errors="replace"))
    ]
