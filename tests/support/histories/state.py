"""The state that the model test compares: what the database holds, as far as the specification speaks of it.

Ids are the database's. In a state that is expected, `ANY` and `OneOf` stand where the specification leaves a
value open.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias, TypeVar

from tests.support.histories.open_values import ANY, Anything, OneOf, Text

OPEN = ("new", "in_progress")
NEW_LEAD = "noti_pancake_new_lead"
LEAD_UPDATED = "noti_pancake_lead_updated"
NEEDS_ATTENTION = "noti_pancake_needs_attention"

NO_SOURCE = "(none)"

RecordKey: TypeAlias = tuple[str, str, str]
"""Connection, table, record id."""
SourceKey: TypeAlias = tuple[str, str]
"""Connection, source id."""
Fields: TypeAlias = dict[str, str | tuple[str, ...]]
"""Values of mapped fields by name; an empty value of a named field is "" or ()."""


@dataclass
class Account:
    """`phone` is the E.164 number of phone code and number, whatever normalized_phone holds."""

    phone: str | None
    created_at: datetime | Anything
    name: Text = None
    enabled: bool = True
    deleted: bool = False
    is_normalized: bool | Anything = True


@dataclass
class Contact:
    """The contact of one phone."""

    account: str | OneOf | None
    name: Text = ANY
    email: Text = ANY
    address: Text = ANY


@dataclass
class Requested:
    """What a record asked for, with the names of its sources, and when."""

    fields: Fields
    at: datetime


@dataclass
class Ticket:
    """`fields` are those of data.pancake that have a value; `requests` are by connection and record id."""

    account: str | OneOf | None
    contact_phone: Text
    owner: Text
    status: str
    source: str | None
    title: Text
    description: Text
    fields: Fields
    requests: dict[tuple[str, str], Requested]
    created_at: datetime | Anything
    is_from_pancake: bool = True

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


@dataclass
class Event:
    record: RecordKey
    status: str
    outcome: Text = None
    error_code: Text = None
    phone: Text = None
    account: Text = None
    ticket: Text = None


@dataclass
class Staff:
    role: str
    active: bool
    on_duty: bool


Row = TypeVar("Row", Account, Contact, Ticket, Event, Staff)


@dataclass
class State:
    """Rows by id; contacts by phone."""

    accounts: dict[str, Account] = field(default_factory=dict)
    contacts: dict[str, Contact] = field(default_factory=dict)
    tickets: dict[str, Ticket] = field(default_factory=dict)
    events: dict[int, Event] = field(default_factory=dict)
    staff: dict[str, Staff] = field(default_factory=dict)
    active_sources: frozenset[SourceKey] = frozenset()
    rosters: dict[SourceKey | None, frozenset[str]] = field(default_factory=dict)

    def is_active(self, version: "Version") -> bool:
        """Tell whether one of the version's sources is active."""
        return any((version.record[0], source) in self.active_sources for source in version.sources)

    def available(self, roster: SourceKey | None) -> list[str]:
        """Return the active members of a roster who are on duty; None is the default roster."""
        members = self.rosters.get(roster, frozenset())
        return [key for key, each in self.staff.items() if key in members and each.active and each.on_duty]

    def roster_of(self, version: "Version") -> SourceKey | None:
        """Return the roster of the first active source that has one."""
        keys = [(version.record[0], source) for source in version.sources]
        return next((key for key in keys if key in self.active_sources and self.rosters.get(key)), None)

    def copied(self) -> "State":
        """Return a copy whose rows may be changed."""
        return State(
            {key: copy.copy(row) for key, row in self.accounts.items()},
            {key: copy.copy(row) for key, row in self.contacts.items()},
            {key: copy.copy(row) for key, row in self.tickets.items()},
            {key: copy.copy(row) for key, row in self.events.items()},
            self.staff,
            self.active_sources,
            self.rosters,
        )


@dataclass(frozen=True)
class Version:
    """One body of a record as it was delivered. `usable` are the E.164 numbers of its phones, in order.

    `typed` are the phones by the key of the body that named them, `known_sources` those of the record's last
    event.
    """

    event: int
    record: RecordKey
    fields: Fields
    usable: tuple[str, ...]
    modified_at: datetime | None
    arrived_at: datetime
    is_deletion: bool = False
    typed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known_sources: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """A version that names none has those of its record; without any it belongs to `(none)`."""
        if "sources" not in self.fields and self.known_sources:
            return self.known_sources
        return tuple(self.fields.get("sources", ())) or (NO_SOURCE,)


@dataclass(frozen=True)
class Notice:
    """A notification: its template and recipients, a frozenset of staff ids when it was sent."""

    template: object
    recipients: object


@dataclass
class Applied:
    """A version that was applied: when it was modified, as it counts, and when it arrived."""

    event: int
    at: datetime | None
    arrived_at: datetime


@dataclass
class Record:
    """What the versions applied so far made of a record.

    `phone`, `account` and `ticket` are None if no version had one. `usable` are the phones of the newest
    version that named usable ones or was corrected, `named` the fields that any version named. `is_deleted`:
    the version applied last was a deletion. `was_far_ahead`: a version had a time in the far future.
    `typed` are the phones by the key that named them last.
    """

    fields: Fields
    named: frozenset[str]
    usable: tuple[str, ...]
    phone: str | None
    account: str | None
    ticket: str | None
    applied: tuple[Applied, ...]
    is_deleted: bool = False
    was_far_ahead: bool = False
    typed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Search:
    """How a version found its customer: the phone that decides, the account, its usable phones.

    `matched` is the phone that is the account's own, if the account was found by that.
    """

    phone: str | None
    account: str | None
    matched: str | None
    usable: tuple[str, ...]


@dataclass
class Expected:
    """The result that the specification demands, and what is remembered of the record then.

    `written` is the ticket that was created or updated, `left` the open one of the record that lost the
    record's request to it, `search` how the customer was found.
    """

    outcome: str
    state: State
    record: Record | None
    notices: list[Notice] = field(default_factory=list)
    keeps_notifications: bool = False
    written: str | None = None
    left: str | None = None
    search: Search | None = None
