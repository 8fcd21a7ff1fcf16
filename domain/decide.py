"""What a record does to Diva's data: from what is there (Situation) to what is to be written (Plan)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from domain.errors import InvalidBody, InvalidPhone
from domain.identity import read_json
from domain.phone import PhoneReading, normalize, read_phones
from domain.record import Lead, read_lead

NEW_LEAD = "noti_pancake_new_lead"
LEAD_UPDATED = "noti_pancake_lead_updated"
NEEDS_ATTENTION = "noti_pancake_needs_attention"


@dataclass(frozen=True, slots=True)
class Version:
    """The event in hand: its lead, its phones, and which version of the record it is."""

    lead: Lead
    phones: PhoneReading
    table_name: str | None
    modified_on: datetime | None
    force: bool = False

    @property
    def phone(self) -> str:
        """The phone that names the customer. Raises InvalidPhone if there is none."""
        if self.phones.primary is None:
            reasons = ", ".join(sorted({reason for _, reason in self.phones.rejected})) or "no phone given"
            raise InvalidPhone(f"The record has no usable phone number ({reasons}).")
        return self.phones.primary

    @classmethod
    def of(cls, claim: Mapping[str, Any]) -> "Version":
        """The version in a claimed row; a corrected phone stands for those of the body.

        Raises InvalidBody if the row holds nothing that could be processed.
        """
        if claim["payload"] is None:
            raise InvalidBody("The row holds no JSON (any more) to process.", code="invalid_payload")
        lead = read_lead(_stored(claim["payload"]))
        corrected = claim["corrected_phone"]
        phones = read_phones([corrected] if corrected else lead.phones)
        return cls(lead, phones, claim["table_name"], claim["modified_on"], claim["force"])

    @property
    def makes_tickets(self) -> bool:
        return self.table_name not in ("account", "contact")


@dataclass(frozen=True, slots=True)
class Applied:
    """The newest version of the record that was applied before."""

    modified_on: datetime | None
    fields: Mapping[str, object] | None
    ticket_id: str | None
    account_id: str | None
    phone: str | None


@dataclass(frozen=True, slots=True)
class Account:
    """A candidate for the customer; `phone` is what its stored phone comes to."""

    id: str
    phone: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class Ticket:
    """An open ticket from Pancake."""

    id: str
    account_id: str | None
    assignee_id: str | None


@dataclass(frozen=True, slots=True)
class Situation:
    """What the database says, read under the lead's locks.

    Accounts come oldest first, tickets newest first.
    """

    applied: Applied | None
    accounts: tuple[Account, ...]
    open_tickets: tuple[Ticket, ...]
    admins: tuple[str, ...]
    consent_mode: str | None
    roster_source_id: str | None
    new_account_id: str
    new_ticket_id: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written. `ticket` is None where no ticket is touched."""

    outcome: str
    phone: str
    account_id: str | None
    account_phone: str | None = None
    account_is_new: bool = False
    writes_customer: bool = True
    records_consent: bool = False
    ticket: Ticket | None = None
    ticket_is_new: bool = False
    evidence: dict[str, object] = field(default_factory=dict)
    attention: tuple[str, ...] = ()


def decide(version: Version, situation: Situation) -> Plan:
    """The plan for one event. Raises InvalidPhone if the record names no usable phone."""
    phone = version.phone
    applied = situation.applied
    if applied is not None and not version.force:
        if is_stale(version, applied):
            return _untouched("stale", phone, applied)
        if is_unchanged(version, applied):
            return _untouched("no_change", phone, applied)
    account = _matching_account(version.phones.usable, situation.accounts)
    account_id = account.id if account else situation.new_account_id
    evidence: dict[str, object] = {"phone": _phone_evidence(version.phones, situation.accounts, account_id)}
    plan = Plan(
        outcome="contact_updated",
        phone=phone,
        account_id=account_id,
        account_phone=account.phone if account else phone,
        account_is_new=account is None,
        records_consent=account is None and situation.consent_mode == "record",
        evidence=evidence,
    )
    return _with_ticket(plan, situation) if version.makes_tickets else plan


def is_stale(version: Version, applied: Applied) -> bool:
    """An older version than the one applied changes nothing."""
    if version.modified_on is None or applied.modified_on is None:
        return False
    return version.modified_on < applied.modified_on


def is_unchanged(version: Version, applied: Applied) -> bool:
    """Whether every mapped field that the version names is as it was applied.

    A field that the applied version did not name is news if it holds something, except in the same version:
    the list of records and the webhook do not name the same fields.
    """
    same_version = version.modified_on is not None and version.modified_on == applied.modified_on
    if applied.fields is None:
        return same_version
    before = applied.fields
    return all(
        before[name] == value if name in before else same_version or not value
        for name, value in version.lead.fields().items()
    )


def situation_of(row: Mapping[str, Any]) -> Situation:
    """Read the row of sql/process_record/load_situation.sql."""
    return Situation(
        applied=_applied(row["applied"]) if row["applied"] else None,
        accounts=tuple(account for item in row["accounts"] if (account := _account(item))),
        open_tickets=tuple(Ticket(t["id"], t["account_id"], t["assignee_id"]) for t in row["open_tickets"]),
        admins=tuple(row["admins"]),
        consent_mode=row["consent_mode"],
        roster_source_id=row["roster_source_id"],
        new_account_id=row["new_account_id"],
        new_ticket_id=row["new_ticket_id"],
    )


def _with_ticket(plan: Plan, situation: Situation) -> Plan:
    """Update the customer's open ticket, else the record's own (then re-pointed), else open a new one."""
    theirs = next((t for t in situation.open_tickets if t.account_id == plan.account_id), None)
    own_id = situation.applied.ticket_id if situation.applied else None
    own = next((t for t in situation.open_tickets if t.id == own_id), None)
    ticket = theirs or own
    moved_from = own.account_id if own and own.account_id != plan.account_id else None
    evidence, attention = dict(plan.evidence), plan.attention
    if moved_from:
        evidence["phone_changed"] = {
            "account_before": moved_from,
            "phone_before": situation.applied.phone if situation.applied else None,
            "ticket_before": own_id,
        }
        attention = ("phone_changed",)
    return replace(
        plan,
        outcome="ticket_updated" if ticket else "ticket_created",
        ticket=ticket or Ticket(situation.new_ticket_id, plan.account_id, None),
        ticket_is_new=ticket is None,
        evidence=evidence,
        attention=attention,
    )


def _untouched(outcome: str, phone: str, applied: Applied) -> Plan:
    ticket = Ticket(applied.ticket_id, applied.account_id, None) if applied.ticket_id else None
    return Plan(outcome, phone, applied.account_id, writes_customer=False, ticket=ticket)


def _matching_account(phones: tuple[str, ...], accounts: tuple[Account, ...]) -> Account | None:
    """The first phone that matches decides; among its accounts the oldest enabled one, else the oldest."""
    for phone in phones:
        matches = [account for account in accounts if account.phone == phone]
        if matches:
            return next((account for account in matches if account.enabled), matches[0])
    return None


def _phone_evidence(reading: PhoneReading, accounts: tuple[Account, ...], winner: str) -> dict[str, object]:
    return {
        "usable": list(reading.usable),
        "rejected": [{"phone": phone, "reason": reason} for phone, reason in reading.rejected],
        "candidates": [account.id for account in accounts],
        "winner": winner,
    }


def _stored(payload: str) -> Any:
    """A payload as PostgreSQL writes it: what was read strictly at ingest, so without a limit on its size."""
    return read_json(payload.encode(), max_bytes=None)


def _applied(item: Mapping[str, Any]) -> Applied:
    modified_on = item["modified_on"]
    return Applied(
        modified_on=datetime.fromisoformat(modified_on) if modified_on else None,
        fields=read_lead(_stored(item["payload"])).fields() if item["payload"] else None,
        ticket_id=item["ticket_id"],
        account_id=item["account_id"],
        phone=item["normalized_phone"],
    )


def _account(item: Mapping[str, Any]) -> Account | None:
    phone = item["normalized_phone"] or normalize(item["phone_number"], item["phone_code"])[0]
    return Account(item["id"], phone, bool(item["phone_enabled"])) if phone else None
