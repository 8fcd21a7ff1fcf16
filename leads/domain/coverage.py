"""Which listed leads are stored already, by table, record id and time, and the standing of each record.

A listed lead is covered if a stored event of its record is not older. The payload hash is not compared: the
bodies of webhook and list differ in keys for the same version of a record.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from leads.domain.canonical_json import JsonValue
from leads.domain.event_states import (
    DEAD_LETTER,
    FAILED,
    INGESTED,
    PROCESSED,
    RECEIVED,
    SKIPPED_KILL_SWITCH,
    SKIPPED_SOURCE_DISABLED,
)
from leads.domain.listing import ListedLead
from leads.domain.table_record import may_be_in

STANDING_OF_STATUS = {
    PROCESSED: "processed",
    RECEIVED: "pending",
    INGESTED: "pending",
    FAILED: "pending",
    SKIPPED_KILL_SWITCH: "held",
    SKIPPED_SOURCE_DISABLED: "held",
    DEAD_LETTER: "rejected",
}
"""The standing of a record by the status of its event, the best one first."""


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


def missing(leads: Sequence[ListedLead], events: EventsByRecord) -> list[ListedLead]:
    """Return the listed leads that no event covers, in the order of the list."""
    return [lead for lead in leads if not covering(lead, events)]


def covering(lead: ListedLead, events: EventsByRecord) -> list[Event]:
    return [event for event in events.get(lead.record_id, ()) if covers(event, lead)]


def covers(event: Event, lead: ListedLead) -> bool:
    """Whether the event is of the same record and not older; without both times, the mapped fields decide."""
    if event.record_id != lead.record_id or not may_be_in(event.table_name, lead.table_name):
        return False
    if event.modified_on is None or lead.modified_on is None:
        return same_fields(event.fields, lead.fields())
    return truncate(event.modified_on) >= truncate(lead.modified_on)


def same_fields(one: Mapping[str, JsonValue], other: Mapping[str, JsonValue]) -> bool:
    """Whether two bodies agree in every mapped field that both contain, and share at least one."""
    shared = one.keys() & other.keys()
    return bool(shared) and all(one[field] == other[field] for field in shared)


def truncate(time: datetime) -> datetime:
    """Truncate to milliseconds, in UTC: webhook and list do not always write the same precision."""
    time = time.astimezone(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def standing(events: Iterable[Event]) -> str:
    """Return the best standing among the events that cover a record, of which there is at least one.

    A processed event settles the record even if another version of it is pending or rejected.
    """
    statuses = {event.status for event in events}
    return next(word for status, word in STANDING_OF_STATUS.items() if status in statuses)
