"""Load what the decision needs: take the locks, check the claim and the switches, read the facts.

Lock order: record, phones (by lock key), roster last. All are transaction advisory locks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from leads.adapters.database import Row, Statement, Transaction
from leads.domain.canonical_json import JsonObject, read_json
from leads.domain.errors import InvalidBody
from leads.domain.facts import Account, Applied, Facts, Ticket
from leads.domain.lead import Lead, read_lead
from leads.domain.lifecycle import SKIPPED_KILL_SWITCH, SKIPPED_SOURCE_DISABLED
from leads.domain.phone import PhoneReading, normalize, read_phones, stored_digits
from leads.services.process_record.claim import Claim

CLAIM_LOST = "claim_lost"


@dataclass(frozen=True, slots=True)
class Fence:
    """A row of process_record/fence_claim: the switches, read again under the claim's row lock."""

    switched_on: bool
    source_active: bool


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
    """A claimed event that is not processed: kill switch on, no source active, or the claim lost."""

    claim: Claim
    result: str


async def load_event(transaction: Transaction, claim: Claim) -> LoadedEvent | NotProcessed:
    """Lock and load in two round trips.

    Raises InvalidBody if the event holds nothing to process, Contended.
    """
    lead, phones = read_stored_lead(
        claim.payload,
        corrected_phone=claim.corrected_phone,
        modified_on=claim.modified_on,
        table_name=claim.table_name,
    )
    # The column, not the body: jsonb writes a number like 1e2 as 100, and polling locks what is stored.
    record_id = claim.record_id or lead.record_id
    _, fences, _, locks = await transaction.run(
        ("process_record/set_generic_plans", {}),
        ("process_record/fence_claim", {"id": claim.id, "claim_id": claim.claim_id}),
        lock_records_statement([record_id]),
        lock_phones_statement([record_id], phones.usable),
    )
    if not fences:
        return NotProcessed(claim, CLAIM_LOST)
    fence = Fence(**fences[0])
    if not fence.switched_on:
        return NotProcessed(claim, SKIPPED_KILL_SWITCH)
    if not fence.source_active:
        return NotProcessed(claim, SKIPPED_SOURCE_DISABLED)
    ((row,),) = await transaction.run(
        (
            "process_record/load_facts",
            {
                "id": claim.id,
                "record_id": lead.record_id,
                "phones": list(phones.usable),
                "stored_digits": [digits for phone in phones.usable for digits in stored_digits(phone)],
            },
        )
    )
    locked_phones = frozenset(phone for lock in locks for phone in lock["phones"])
    return LoadedEvent(claim, lead, phones, read_facts(row), locked_phones)


def lock_records_statement(record_ids: Sequence[str]) -> Statement:
    """Return the statement of a lead's first lock, which processing, polling and reconciliation take."""
    return "process_record/lock_records", {"record_ids": list(record_ids)}


def lock_phones_statement(record_ids: Sequence[str], phones: Sequence[str]) -> Statement:
    """Return the statement that locks phones, and those that the records and their customers had before."""
    return "process_record/lock_phones", {"record_ids": list(record_ids), "phones": list(phones)}


def read_stored_lead(
    payload: str | None, *, corrected_phone: str | None, modified_on: datetime | None, table_name: str | None
) -> tuple[Lead, PhoneReading]:
    """Read the lead and its phones from an event's row; a corrected phone replaces those of the body.

    Raises InvalidBody if the row holds nothing that could be processed.
    """
    if payload is None:
        raise InvalidBody(
            "The row holds no JSON to process, or its body was emptied.", code="invalid_payload"
        )
    lead = read_lead(_read_payload(payload), modified_on=modified_on, table_name=table_name)
    return lead, read_phones([corrected_phone] if corrected_phone else lead.phones)


def read_facts(row: Row) -> Facts:
    """Read the row of process_record/load_facts."""
    return Facts(
        applied=_applied(row["applied"]) if row["applied"] else None,
        accounts=tuple(account for item in row["accounts"] if (account := _account(item))),
        open_tickets=tuple(Ticket(t["id"], t["account_id"], t["assignee_id"]) for t in row["open_tickets"]),
        admins=tuple(row["admins"]),
        consent_mode=row["consent_mode"],
        roster_source_id=row["roster_source_id"],
        new_account_id=row["new_account_id"],
        new_ticket_id=row["new_ticket_id"],
    )


def _applied(item: Row) -> Applied:
    modified_on, payload = item["modified_on"], item["payload"]
    return Applied(
        modified_on=datetime.fromisoformat(modified_on) if modified_on else None,
        digests=read_lead(_read_payload(payload)).digests() if payload else item["digests"],
        ticket_id=item["ticket_id"],
        account_id=item["account_id"],
        phone=item["normalized_phone"],
    )


def _account(item: Row) -> Account | None:
    phone = item["normalized_phone"] or normalize(item["phone_number"], item["phone_code"])[0]
    if not phone:
        return None
    return Account(
        id=item["id"],
        phone=phone,
        is_enabled=bool(item["phone_enabled"]),
        contact_phone=item["contact_phone"],
        normalized_phone=item["normalized_phone"],
    )


def _read_payload(payload: str) -> JsonObject:
    """Read a payload as PostgreSQL writes it: it was read strictly at ingest, so its size is not limited."""
    value = read_json(payload.encode(), max_bytes=None)
    if not isinstance(value, Mapping):
        raise InvalidBody("The row does not hold a JSON object.", code="invalid_payload")
    return value
