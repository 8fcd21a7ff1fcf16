"""Load what the decision needs: take the locks, check the claim and the switches, read the facts.

Lock order: record, phones (by lock key), roster last. All are transaction advisory locks.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from leads.adapters.database import Params, Statement, Transaction
from leads.domain.digest import PHONE, Digester, erasure_digests
from leads.domain.facts import Applied, Facts
from leads.domain.lead import Lead, read_stored_lead, read_typed_phones
from leads.domain.phone import PhoneReading, stored_digits
from leads.domain.versions import (
    phones_for_matching,
    phones_of_version,
    with_capped_time,
    with_kept_phones,
)
from leads.services.process_record.claim import Claim
from leads.services.process_record.rows import read_applied, read_facts

CLAIM_LOST = "claim_lost"
ERASED = "erased"


@dataclass(frozen=True, slots=True)
class RecordKey:
    """What identifies a record: its connection, its table (None counts as `lead`) and its id."""

    connection_id: UUID
    table_name: str | None
    record_id: str

    def params(self) -> Params:
        return {
            "connection_id": self.connection_id,
            "table_name": self.table_name,
            "record_id": self.record_id,
        }


@dataclass(frozen=True, slots=True)
class LoadedEvent:
    """A claimed event with its facts. `locked_phones` are those whose locks the transaction holds."""

    claim: Claim
    lead: Lead
    phones: PhoneReading
    facts: Facts
    locked_phones: frozenset[str]


@dataclass(frozen=True, slots=True)
class NotProcessed:
    """A claimed event that is not processed: switched off, its customer erased, or the claim lost."""

    claim: Claim
    result: str


async def load_event(
    transaction: Transaction, claim: Claim, digester: Digester
) -> LoadedEvent | NotProcessed:
    """Lock and load in two round trips.

    Raises InvalidBody if the event holds nothing to process, Contended.
    """
    lead, read = read_stored_lead(
        claim.payload,
        corrected_phone=claim.corrected_phone,
        modified_on=claim.modified_on,
        table_name=claim.table_name,
        digester=digester,
    )
    lead = with_capped_time(lead, claim.arrived_at)
    # The column, not the body: jsonb writes a number like 1e2 as 100, and polling locks what is stored.
    record = RecordKey(claim.connection_id, claim.table_name, claim.record_id or lead.record_id)
    of_event: Params = {
        **record.params(),
        "id": claim.id,
        "erasure_digests": erasure_digests(digester, read.usable, record.record_id),
    }
    fences, _, locks, past = await transaction.run(
        ("process_record/fence_claim", {"id": claim.id, "claim_id": claim.claim_id}),
        lock_records_statement([record.record_id]),
        lock_phones_statement([record], read.usable),
        ("process_record/load_applied", of_event),
    )
    if not fences:
        return NotProcessed(claim, CLAIM_LOST)
    if held_as := fences[0]["held_as"]:
        return NotProcessed(claim, held_as)
    if past[0].pop("is_erased"):
        return NotProcessed(claim, ERASED)
    applied = read_applied(past[0], lead, read)
    if not claim.corrected_phone and (whole := with_kept_phones(lead, applied)) is not lead:
        lead, read = whole, read_typed_phones(whole.typed_phones)
    phones = phones_of_version(read, applied)
    locked_phones = {phone for lock in locks for phone in lock["phones"]}
    deciding = phones_for_matching(lead, phones, claim.arrived_at, applied, force=claim.force)
    facts = await _load_facts(transaction, claim.id, record, deciding, applied, digester, locked_phones)
    return LoadedEvent(claim, lead, phones, facts, frozenset(locked_phones))


async def _load_facts(
    transaction: Transaction,
    event_id: int,
    record: RecordKey,
    phones: PhoneReading,
    applied: Applied | None,
    digester: Digester,
    locked_phones: set[str],
) -> Facts:
    """Load the facts, and again if a customer has a phone that the lead does not name.

    One that is not normalized yet is locked first, out of the order of keys: a deadlock is Contended. It is
    added to `locked_phones`.
    """
    of_record = {
        "record_ticket_id": applied.ticket_id if applied else None,
        "record_account_id": applied.account_id if applied else None,
    }
    params: Params = {
        **of_record,
        "id": event_id,
        "phones": list(phones.usable),
        "stored_digits": _stored_digits(phones.usable),
        "phone_digests": json.dumps({phone: digester.digests(PHONE, phone) for phone in phones.usable}),
    }
    record_facts: list[Statement] = []
    if applied:
        record_facts.append(("process_record/load_record_facts", {**of_record, **record.params()}))
    (row,), *others = await transaction.run(_facts_statement(params, []), *record_facts)
    facts = read_facts(row, applied, others[0][0] if others else None, digester)
    own_phones = sorted(facts.own_phones() - set(phones.usable))
    if not own_phones:
        return facts
    # The others are locked: lock_phones finds them, and a contact that came since makes the plan Contended.
    if unlocked := facts.not_normalized_phones() - locked_phones:
        (locks,) = await transaction.run(lock_phones_statement([], sorted(unlocked)))
        locked_phones |= {phone for lock in locks for phone in lock["phones"]}
    (row,), *others = await transaction.run(_facts_statement(params, own_phones), *record_facts)
    return read_facts(row, applied, others[0][0] if others else None, digester)


def _facts_statement(params: Params, own_phones: Sequence[str]) -> Statement:
    own = {"own_phones": list(own_phones), "own_digits": _stored_digits(own_phones)}
    return "process_record/load_facts", {**params, **own}


def _stored_digits(phones: Iterable[str]) -> list[str]:
    return [digits for phone in phones for digits in stored_digits(phone)]


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
