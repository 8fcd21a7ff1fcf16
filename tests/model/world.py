"""The state that the model test compares: what the database must hold after each step.

Ids are the database's. `ANY` and `OneOf` stand where the specification leaves a value open.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

FAR_FUTURE_HOURS = 48
OPEN = ("new", "in_progress")

NEW_LEAD = "noti_pancake_new_lead"
LEAD_UPDATED = "noti_pancake_lead_updated"
NEEDS_ATTENTION = "noti_pancake_needs_attention"

RecordKey: TypeAlias = tuple[str, str, str]  # connection, table, record id
FieldValue: TypeAlias = str | tuple[str, ...]
Fields: TypeAlias = dict[str, FieldValue]  # named fields only; "" and () are named and empty


class Anything:
    """Equals every value."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True

    def __repr__(self) -> str:
        return "ANY"


ANY = Anything()


class OneOf:
    """Equals each of its values."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, *values: object) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        return other in self.values

    def __repr__(self) -> str:
        return " or ".join(map(repr, self.values))


Loose: TypeAlias = Anything | OneOf


@dataclass
class Account:
    phone: str | None  # E.164 of the phone code and number that a person or we typed
    created_at: datetime
    name: str | None | Loose = None
    enabled: bool = True
    deleted: bool = False

    @property
    def is_live(self) -> bool:
        return self.enabled and not self.deleted


@dataclass
class Contact:
    account: str | None
    name: str | None | Loose = ANY
    email: str | None | Loose = ANY
    address: str | None | Loose = ANY


@dataclass
class Ticket:
    account: str | None
    contact_phone: str | None | Loose
    owner: str | None | Loose
    status: str
    source: str | None
    title: str | None | Loose
    description: str | None | Loose
    fields: Fields | Loose  # data.pancake, fields without a value left out
    is_from_pancake: bool = True

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


@dataclass
class Event:
    record: RecordKey
    status: str
    outcome: str | None | Loose = None
    error_code: str | None | Loose = None
    phone: str | None | Loose = None
    account: str | None | Loose = None
    ticket: str | None | Loose = None


@dataclass
class Staff:
    role: str
    active: bool = True
    on_duty: bool = True
    in_roster: bool = False

    @property
    def is_available(self) -> bool:
        return self.in_roster and self.active and self.on_duty


@dataclass
class State:
    """What the database holds, as far as the specification speaks of it."""

    accounts: dict[str, Account] = field(default_factory=dict)
    contacts: dict[str, Contact] = field(default_factory=dict)  # by primary_phone
    tickets: dict[str, Ticket] = field(default_factory=dict)
    events: dict[int, Event] = field(default_factory=dict)
    staff: dict[str, Staff] = field(default_factory=dict)

    def copied(self) -> State:
        """Return a copy whose rows may be changed."""
        parts = (self.accounts, self.contacts, self.tickets, self.events, self.staff)
        return State(*({key: copy.copy(row) for key, row in part.items()} for part in parts))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Version:
    """One body of a record, as it was delivered."""

    event: int
    record: RecordKey
    fields: Fields
    usable: tuple[str, ...]  # E.164 of the usable phones that it names, in their order
    modified_at: datetime | None
    arrived_at: datetime
    is_deletion: bool = False


@dataclass(frozen=True)
class Applied:
    """That a version was applied: the event, and what it was applied with."""

    event: int
    at: datetime | None
    arrived_at: datetime
    phone: str
    ticket: str | None


@dataclass
class Record:
    """What the versions applied so far make of a record."""

    fields: Fields
    usable: tuple[str, ...]  # of the newest version that named a usable phone
    corrected: bool
    phone: str
    ticket: str | None
    applied: list[Applied]

    @property
    def last(self) -> Applied:
        return self.applied[-1]


@dataclass(frozen=True)
class Told:
    """An intent: the template and who gets it."""

    template: str
    recipients: frozenset[str]


@dataclass
class Expected:
    """One result that the specification allows."""

    why: str
    state: State
    record: Record | None  # what is remembered of the record from now on
    must_tell: list[Told] = field(default_factory=list)
    may_tell: list[Told] = field(default_factory=list)
    keeps_notifications: bool = False
