"""What a decision rests on: the event in hand (Version) and what the database says (Situation)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from leads.domain.body import Lead, read_lead
from leads.domain.canonical_json import read_json
from leads.domain.errors import InvalidBody, InvalidPhone
from leads.domain.phone import PhoneReading, normalize, read_phones


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
    """The newest version of the record that was applied before; `digests` are those of its mapped fields."""

    modified_on: datetime | None
    digests: Mapping[str, str] | None
    ticket_id: str | None
    account_id: str | None
    phone: str | None


@dataclass(frozen=True, slots=True)
class Account:
    """A candidate for the customer; `phone` is what its stored phone comes to.

    `contact_phone` is the lead's phone that a contact of the account has and that came with its own phone.
    """

    id: str
    phone: str
    enabled: bool
    contact_phone: str | None = None


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


def situation_of(row: Mapping[str, Any]) -> Situation:
    """Read the row of sql/process_record/load_facts.sql."""
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


def _stored(payload: str) -> Any:
    """A payload as PostgreSQL writes it: what was read strictly at ingest, so without a limit on its size."""
    return read_json(payload.encode(), max_bytes=None)


def _applied(item: Mapping[str, Any]) -> Applied:
    modified_on = item["modified_on"]
    return Applied(
        modified_on=datetime.fromisoformat(modified_on) if modified_on else None,
        digests=read_lead(_stored(item["payload"])).digests() if item["payload"] else item["digests"],
        ticket_id=item["ticket_id"],
        account_id=item["account_id"],
        phone=item["normalized_phone"],
    )


def _account(item: Mapping[str, Any]) -> Account | None:
    phone = item["normalized_phone"] or normalize(item["phone_number"], item["phone_code"])[0]
    return Account(item["id"], phone, bool(item["phone_enabled"]), item["contact_phone"]) if phone else None
