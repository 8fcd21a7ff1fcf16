"""Lock leads, and load the facts of a decision under their locks.

Lock order: record, phones (by lock key), roster last. All are transaction advisory locks.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from leads.adapters.database import Params, Row, Statement, Transaction
from leads.domain.decide import Account, Facts, Ticket
from leads.domain.digest import PHONE, Digester
from leads.domain.lead import Lead
from leads.domain.phone import PhoneReading, normalize, stored_digits
from leads.domain.versions import LastApplied


class RecordKey(NamedTuple):
    """What identifies a record: its connection, its table (None counts as `lead`) and its id."""

    connection_id: UUID
    table_name: str | None
    record_id: str


def lock_records_statement(record_ids: Sequence[str]) -> Statement:
    """Return the statement of a lead's first lock, which processing, polling and reconciliation take."""
    return "process_record/lock_records", {"record_ids": list(record_ids)}


def lock_phones_statement(records: Sequence[RecordKey], phones: Sequence[str]) -> Statement:
    """Return the statement that locks phones, and those that the records and their customers had before."""
    params = {
        "connection_ids": [record.connection_id for record in records],
        "table_names": [record.table_name for record in records],
        "record_ids": [record.record_id for record in records],
        "phones": list(phones),
    }
    return "process_record/lock_phones", params


def read_applied(row: Row, lead: Lead, read: PhoneReading) -> LastApplied | None:
    """Read the row of process_record/load_applied; None if nothing was applied.

    Digests made with an older key are computed again where the lead still has the value. Phones that
    retention emptied are found by their digest among those of lead and customer.
    """
    if row["last_arrived_at"] is None:
        return None
    known = [*read.usable, *row["known_phones"]]
    columns = {name: value for name, value in row.items() if name not in ("is_erased", "known_phones")}
    typed = {key: tuple(phones) for key, phones in row["typed_phones"].items()}
    applied = LastApplied(**{**columns, "usable_phones": tuple(row["usable_phones"]), "typed_phones": typed})
    if applied.digests is not None:
        applied = replace(applied, digests=lead.with_current_key(applied.digests))
    stored = applied.phone_digests
    if applied.phone is not None or not isinstance(stored, Mapping) or not stored.get("primary"):
        return applied
    phone = lead.digester.find_phone(stored["primary"], known)
    listed = stored.get("usable")
    usable = (lead.digester.find_phone(each, known) for each in (listed if isinstance(listed, list) else ()))
    return replace(
        applied,
        phone=phone,
        usable_phones=tuple(filter(None, usable)),
        is_phone_forgotten=phone is None,
    )


async def load_facts(
    transaction: Transaction,
    event_id: int,
    record: RecordKey,
    phones: PhoneReading,
    applied: LastApplied | None,
    digester: Digester,
    locked: set[str],
) -> tuple[Facts, set[str]]:
    """Load the facts, and again if a customer has a phone that the lead does not name.

    Returns also the phones that are locked then, `locked` among them. A phone whose account is not normalized
    is locked here, after the others and so out of order. PostgreSQL ends a deadlock, which is Contended.
    """
    applied_ids = {
        "record_ticket_id": applied.ticket_id if applied else None,
        "record_account_id": applied.account_id if applied else None,
    }
    params: Params = {
        **applied_ids,
        "id": event_id,
        "phones": list(phones.usable),
        "stored_digits": _stored_digits(phones.usable),
        "phone_digests": json.dumps({phone: digester.digests(PHONE, phone) for phone in phones.usable}),
    }
    record_facts: list[Statement] = []
    if applied:
        record_facts.append(("process_record/load_record_facts", {**applied_ids, **record._asdict()}))

    async def load(own_phones: Sequence[str]) -> Facts:
        own = {"own_phones": own_phones, "own_digits": _stored_digits(own_phones)}
        (row,), *others = await transaction.run(
            ("process_record/load_facts", {**params, **own}), *record_facts
        )
        return read_facts(row, applied, others[0][0] if others else None, digester)

    facts = await load([])
    own_phones = sorted(facts.own_phones() - set(phones.usable))
    if not own_phones:
        return facts, locked
    # The others are locked: lock_phones finds them, and a contact that came since makes the plan Contended.
    if unlocked := facts.not_normalized_phones() - locked:
        (locks,) = await transaction.run(lock_phones_statement([], sorted(unlocked)))
        locked = locked | phones_of(locks)
    return await load(own_phones), locked


def phones_of(locks: Iterable[Row]) -> set[str]:
    """Return the phones that the rows of lock_phones_statement say are locked."""
    return {phone for lock in locks for phone in lock["phones"]}


def _stored_digits(phones: Iterable[str]) -> list[str]:
    return [digits for phone in phones for digits in stored_digits(phone)]


def read_facts(row: Row, applied: LastApplied | None, record_facts: Row | None, digester: Digester) -> Facts:
    """Read the rows of process_record/load_facts and, of a record applied before, load_record_facts."""
    before = record_facts or {"ticket_account": None, "applied_account": None, "ticket_is_shared": False}
    return Facts(
        applied=applied,
        accounts=tuple(_accounts(row["accounts"], digester)),
        open_tickets=tuple(_ticket(item) for item in row["open_tickets"]),
        ticket_account=_account(before["ticket_account"]) if before["ticket_account"] else None,
        applied_account=_account(before["applied_account"]) if before["applied_account"] else None,
        ticket_is_shared=before["ticket_is_shared"],
        admins=tuple(row["admins"]),
        managers=tuple(row["managers"]),
        consent_mode=row["consent_mode"],
        roster_source_id=row["roster_source_id"],
        new_account_id=row["new_account_id"],
        new_ticket_id=row["new_ticket_id"],
        source_names=row["source_names"],
        connection=row["connection"],
    )


def _accounts(items: Iterable[Row], digester: Digester) -> Iterator[Account]:
    """Yield the accounts that a phone of the lead leads to.

    `named` are the phones that events named together with the contact's, and the digests of those that
    emptied events named. It is null unless the account has to have one of them.
    """
    for item in items:
        named, own = item["named"], _own_phone(item)
        if named is not None and not (
            own in named["phones"] or any(digester.matches(each, PHONE, own) for each in named["digests"])
        ):
            continue
        account = _account({key: value for key, value in item.items() if key != "named"})
        if account.phone or account.contact_phone:
            yield account


def _ticket(item: Row) -> Ticket:
    fields, account = item["fields"], item["account"]
    columns = {key: value for key, value in item.items() if key not in ("fields", "account")}
    return Ticket(
        **columns,
        fields=fields if isinstance(fields, dict) else {},
        account_phone=_own_phone(account) if account else None,
    )


def _account(item: Row) -> Account:
    return Account(**item, phone=_own_phone(item))


def _own_phone(account: Row) -> str | None:
    """Return the phone of an account, normalized here if its column is empty; None if it is not usable."""
    phone: str | None = account["normalized_phone"]
    return phone or normalize(account["phone_number"] or "", account["phone_code"])[0]
