"""What a decision rests on: the rows of Diva and of earlier events that concern a lead."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


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
    """An account that may be the customer's. All phones are E.164.

    `phone` is the account's own, normalized by us if the column is still empty (`normalized_phone` None).
    `contact_phone` is a phone of the lead that belongs to a contact of the account, if an earlier lead named
    both phones.
    """

    id: str
    phone: str
    is_enabled: bool
    contact_phone: str | None = None
    normalized_phone: str | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """An open ticket from Pancake."""

    id: str
    account_id: str | None
    assignee_id: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database says, read under the lead's locks. Accounts: oldest first. Tickets: newest first.

    `admins` are the ids of active staff. `roster_source_id` is None for the default roster.
    """

    applied: Applied | None
    accounts: tuple[Account, ...]
    open_tickets: tuple[Ticket, ...]
    admins: tuple[str, ...]
    consent_mode: str | None
    roster_source_id: str | None
    new_account_id: str
    new_ticket_id: str
