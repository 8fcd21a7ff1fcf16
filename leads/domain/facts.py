"""What a decision rests on: the rows of Diva and of earlier events that concern a lead."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from leads.domain.canonical_json import JsonValue
from leads.domain.lead import Digests, TypedPhones

AccountState = Literal["enabled", "disabled", "deleted"]


@dataclass(frozen=True, slots=True)
class Applied:
    """What was applied of a record before this version.

    The times are those of all its applied versions: `newest_modified_on` is the newest, `newest_arrived_at`
    when that one arrived; `untimed_arrived_at` is the newest arrival of a version without a time, and
    `last_arrived_at` that of any version. Everything else is of the version that was applied last.
    `digests` are those of every mapped field that a version has named so far. `typed_phones` are the phones
    of each key that a version has named; retention empties them.

    After retention a phone is known again if the lead or its customer in Diva has one with its digest;
    `is_phone_forgotten` says that `phone` is not. `phone_digests` are as they are stored.
    """

    newest_modified_on: datetime | None
    newest_arrived_at: datetime | None
    untimed_arrived_at: datetime | None
    last_arrived_at: datetime
    had_future_time: bool
    outcome: str
    digests: Digests | None
    ticket_id: str | None
    account_id: str | None
    phone: str | None
    usable_phones: tuple[str, ...]
    typed_phones: TypedPhones = field(default_factory=dict, hash=False)
    phone_digests: Mapping[str, JsonValue] | None = None
    is_phone_forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """An account that may be the customer's. All phones are E.164.

    `phone` is the account's own, normalized by us if the column is still empty (`normalized_phone` None);
    `phone_code` and `phone_number` are what it was normalized from. `contact_phone` is a phone of the lead
    that belongs to a contact of the account.
    """

    id: str
    phone: str | None
    state: AccountState = "enabled"
    contact_phone: str | None = None
    normalized_phone: str | None = None
    phone_code: str | None = None
    phone_number: str | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """An open ticket that the integration made. `fields` are the mapped fields that it holds.

    `account_phone` is the phone of its account, unless that was deleted.
    """

    id: str
    account_id: str | None
    assignee_id: str | None
    account_phone: str | None = None
    assignee_is_active: bool = False
    title: str = ""
    description: str | None = None
    fields: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database says, read under the lead's locks. Accounts: oldest first. Tickets: newest first.

    `ticket_account` is the account of the record's ticket and `applied_account` that of the version
    applied last, both also if they have another phone by now. `ticket_is_shared`: another record's version
    applied last names the record's ticket too. `admins` and `managers` are the ids of active staff.
    `roster_source_id` is None for the default roster.
    """

    applied: Applied | None
    accounts: tuple[Account, ...]
    open_tickets: tuple[Ticket, ...]
    ticket_account: Account | None
    applied_account: Account | None
    ticket_is_shared: bool
    admins: tuple[str, ...]
    managers: tuple[str, ...]
    consent_mode: str | None
    roster_source_id: str | None
    new_account_id: str
    new_ticket_id: str

    def own_phones(self) -> set[str]:
        """Return the own phones of all accounts that may be the customer's."""
        return {each.phone for each in self._customers() if each.phone}

    def not_normalized_phones(self) -> set[str]:
        """Return those of them that the accounts do not have in normalized form yet."""
        return {each.phone for each in self._customers() if each.phone and not each.normalized_phone}

    def _customers(self) -> Iterator[Account]:
        known = (*self.accounts, self.ticket_account, self.applied_account)
        return (each for each in known if each and each.state != "deleted")
