"""What Pancake's lists show: windows of time, records as leads and deliveries, which are stored; sources.

The list of records has no "changed since" filter and no guaranteed order: only a filter over `modified_on`,
whose time zone is not documented, on a search index that may lag. So windows include both ends, and are
requested wider than needed; the answer is filtered again here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from leads.domain.body import NO_SOURCE, Body, Delivery, body_of, in_utc, modified_time, read_body
from leads.domain.canonical_json import MAX_DEPTH, JsonObject, JsonValue, canonical, has_exponent
from leads.domain.event_states import (
    DEAD_LETTER,
    FAILED,
    INGESTED,
    PROCESSED,
    RECEIVED,
    SKIPPED_KILL_SWITCH,
    SKIPPED_SOURCE_DISABLED,
)
from leads.domain.lead import OTHER_TABLES, read_lead
from leads.domain.visible_text import without_unseen

SETTLE = timedelta(minutes=1)
"""How far before the present a window ends: younger versions may not be listed yet."""
MAX_SOURCE_CHARACTERS = 200
ZONE_MARGIN = timedelta(hours=14)
"""The largest offset of a zone from UTC: in whichever zone the filter is read, it contains the window."""
MAX_PLAIN_CHARACTERS = 16 * 1024
"""UTF-8 has at most 4 bytes per character, so a shorter text stays below MAX_BODY_BYTES."""
LEAD_TABLE = "lead"
RECORD_STATE_OF_STATUS = {
    PROCESSED: "processed",
    RECEIVED: "pending",
    INGESTED: "pending",
    FAILED: "pending",
    SKIPPED_KILL_SWITCH: "held",
    SKIPPED_SOURCE_DISABLED: "held",
    DEAD_LETTER: "rejected",
}
"""The state of a record by the status of its event, the best one first."""


@dataclass(frozen=True, slots=True)
class Window:
    """A period of time in UTC, including both ends."""

    start: datetime
    end: datetime

    def __contains__(self, time: datetime) -> bool:
        return self.start <= time <= self.end

    def record_filter(self) -> dict[str, object]:
        """Return the list endpoint's `filter` for the records of the window, in the vendor's grammar."""
        condition = {
            "field_name": "modified_on",
            "type": "$date_time",
            "value": list(filter_bounds(self)),
            "is_filter_exclude": False,
        }
        return {"is_group": False, "fields": [condition]}


def filter_bounds(window: Window) -> tuple[str, str]:
    """Return the two values of a `$date_time` filter: naive ISO times in UTC, 14 h wider on each side.

    Naive because no other form was seen in use; whole seconds, rounded outwards.
    """
    start = (window.start - ZONE_MARGIN).astimezone(UTC)
    end = (window.end + ZONE_MARGIN + timedelta(seconds=1)).astimezone(UTC)
    return f"{start:%Y-%m-%dT%H:%M:%S}", f"{end:%Y-%m-%dT%H:%M:%S}"


class TableRecord(NamedTuple):
    """A record of a connection: two tables may hold records of one id.

    `table_name` is None for an event whose body named none.
    """

    table_name: str | None
    record_id: str


@dataclass(frozen=True, slots=True)
class ListedLead:
    """One record of a table's list. `modified_on` is in UTC; None if the record has no time."""

    table_name: str
    record_id: str
    modified_on: datetime | None
    entry: JsonObject

    @property
    def key(self) -> TableRecord:
        return TableRecord(self.table_name, self.record_id)

    def fields(self) -> dict[str, JsonValue]:
        """Read the mapped fields, for a comparison without times."""
        return read_lead(self.entry).fields()

    def delivery(self, connection_id: str, now: datetime) -> Delivery:
        """Return the record as a delivery, read as strictly as a webhook's body."""
        body = replace(_body(self.entry), table_name=self.table_name)
        return Delivery(body, arrived_at=now, connection_id=connection_id)


def read_listed_leads(entries: Iterable[JsonObject], table_name: str, zone: tzinfo) -> list[ListedLead]:
    """Read the records of a page that have an id; naive times are read in `zone`."""
    return [
        ListedLead(table_name, str(entry["id"]), modified_in_utc(entry, zone), entry)
        for entry in entries
        if isinstance(entry.get("id"), str) and entry["id"]
    ]


def modified_in_utc(entry: JsonObject, zone: tzinfo) -> datetime | None:
    """Return when a record was modified, else created, in UTC; None if it names neither."""
    time = modified_time(entry)
    return in_utc(time, zone) if time else None


def _body(entry: JsonObject) -> Body:
    """Read a record as a webhook's body.

    Writing a record as JSON and parsing it again is needed only for what strict parsing could refuse. Most
    records cannot be refused: they are small and hold no unusual numbers.
    """
    try:
        body = body_of(entry)
    except (ValueError, RecursionError):
        return _reread(entry)
    text = body.payload or ""
    is_plain = 0 < len(text) <= MAX_PLAIN_CHARACTERS and text.count("{") + text.count("[") <= MAX_DEPTH
    if is_plain and "NaN" not in text and "Infinity" not in text and not has_exponent(text):
        return body
    return _reread(entry)


def _reread(entry: JsonObject) -> Body:
    return read_body(canonical(entry).encode("utf-8", "surrogatepass"))


@dataclass(slots=True)
class ListPosition:
    """Where reading the lists of a connection stopped.

    `table` is an index into the connection's tables; `cursor` is None at the start of a table. `pages` and
    `short_pages` count what was read so far. `ending` says why the lists ended, if nothing more can be read.
    """

    table: int = 0
    cursor: str | None = None
    pages: int = 0
    short_pages: int = 0
    ending: str | None = None

    def advance(self, cursor: str | None, pages: int, short_pages: int) -> None:
        """Go on to the page of `cursor`, after so many more pages."""
        self.cursor = cursor
        self.pages += pages
        self.short_pages += short_pages


SavedLookUp = tuple[str | None, str, bool, str | None]
"""Table, id, whether the record exists, and its `modified_on`; a list in JSON."""


@dataclass(slots=True)
class LookUps:
    """Records that were read one by one, because a list did not show them.

    `present` maps those that exist to their `modified_on`; `absent` holds the others.
    """

    present: dict[TableRecord, datetime | None] = field(default_factory=dict)
    absent: set[TableRecord] = field(default_factory=set)

    @classmethod
    def load(cls, saved: list[SavedLookUp]) -> "LookUps":
        look_ups = cls()
        for table_name, record_id, exists, text in saved:
            key = TableRecord(table_name, record_id)
            if exists:
                look_ups.present[key] = datetime.fromisoformat(text) if text else None
            else:
                look_ups.absent.add(key)
        return look_ups

    def save(self) -> list[SavedLookUp]:
        found: list[SavedLookUp] = [
            (*key, True, time.isoformat() if time else None) for key, time in self.present.items()
        ]
        return found + [(*key, False, None) for key in self.absent]

    def __contains__(self, key: TableRecord) -> bool:
        return key in self.present or key in self.absent


@dataclass(frozen=True, slots=True)
class Event:
    """A stored event. `fields` are the mapped fields of its body, empty if times decide without them."""

    table_name: str | None
    record_id: str
    modified_on: datetime | None
    fields: Mapping[str, JsonValue]
    status: str
    error_code: str | None = None


EventsByRecord = Mapping[str, Sequence[Event]]
"""The events of each record id, of whichever table."""


def group_by_record(events: Iterable[Event]) -> EventsByRecord:
    groups: dict[str, list[Event]] = {}
    for event in events:
        groups.setdefault(event.record_id, []).append(event)
    return groups


def not_covered(leads: Sequence[ListedLead], events: EventsByRecord) -> list[ListedLead]:
    """Return the listed leads that no event covers, in the order of the list."""
    return [lead for lead in leads if not covering(lead, events)]


def covering(lead: ListedLead, events: EventsByRecord) -> list[Event]:
    return [event for event in events.get(lead.record_id, ()) if covers(event, lead)]


def covers(event: Event, lead: ListedLead) -> bool:
    """Whether a listed lead needs no new row: the event is of its record and at least as new.

    Without both times, the mapped fields decide. The payload hash is not compared: the bodies of webhook and
    list differ in keys for the same version of a record.
    """
    if event.record_id != lead.record_id or not may_be_in(event.table_name, lead.table_name):
        return False
    if event.modified_on is None or lead.modified_on is None:
        return same_fields(event.fields, lead.fields())
    return truncate(event.modified_on) >= truncate(lead.modified_on)


def may_be_in(table_name: str | None, listed_table: str) -> bool:
    """Whether an event of `table_name` may be of a record in the list of `listed_table`.

    Without a table it may be of any. A table that Pancake does not document counts as leads, as when it is
    processed.
    """
    if table_name is None or table_name == listed_table:
        return True
    return listed_table == LEAD_TABLE and table_name not in OTHER_TABLES


def same_fields(one: Mapping[str, JsonValue], other: Mapping[str, JsonValue]) -> bool:
    """Whether two bodies agree in every mapped field that both contain, and share at least one."""
    shared = one.keys() & other.keys()
    return bool(shared) and all(one[field] == other[field] for field in shared)


def truncate(time: datetime) -> datetime:
    """Truncate to milliseconds, in UTC: webhook and list do not always write the same precision."""
    time = time.astimezone(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def record_state(events: Iterable[Event]) -> str:
    """Return the best state by the events that cover a record, of which there is at least one.

    A processed event settles the record even if another version of it is pending or rejected.
    """
    statuses = {event.status for event in events}
    return next(word for status, word in RECORD_STATE_OF_STATUS.items() if status in statuses)


@dataclass(frozen=True, slots=True)
class Source:
    """A source of a workspace; `is_removed`: removed in Pancake."""

    id: str
    name: str | None
    parent_id: str | None
    is_removed: bool


def read_sources(entries: Iterable[JsonObject]) -> list[Source]:
    """Read each source once, ordered by id, which Pancake sends as text or number."""
    sources: dict[str, Source] = {}
    for entry in entries:
        source_id = without_unseen(str(entry.get("id") or "")).strip()
        if 0 < len(source_id) <= MAX_SOURCE_CHARACTERS and source_id != NO_SOURCE:
            sources[source_id] = Source(
                id=source_id,
                name=_source_text(entry.get("name") or None),
                parent_id=_source_text(entry.get("parent_id")),
                is_removed=entry.get("is_removed") is True,
            )
    return [sources[source_id] for source_id in sorted(sources)]


def _source_text(value: object) -> str | None:
    text = "" if value is None else without_unseen(str(value)).strip()
    return text[:MAX_SOURCE_CHARACTERS] or None
