"""An event as a trace sees it: its row, and what Diva's database says of it now."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from leads.domain import lead
from leads.domain.body import record_of
from leads.domain.canonical_json import JsonObject, JsonValue, read_json


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A row of trace_lead/load_events.

    `newest_id` is the newest event of its lead, the same in all rows of the lead. `body` is None if it was
    emptied, is not JSON, or is very large. `sources` are names, or ids if they have none. `ticket`
    and `account` are None if the event has none, or if a person deleted its row. `names` are those of the
    staff that the event mentions, by id. The settings are those of now.
    """

    id: int
    newest_id: int
    table_name: str
    connection: str
    connection_status: str
    record_id: str | None
    origin: str
    status: str
    outcome: str | None
    error_code: str | None
    error_detail: str | None
    attempts: int
    next_attempt_at: datetime | None
    arrived_at: datetime
    created_at: datetime
    received_at: datetime | None
    ingested_at: datetime | None
    processed_at: datetime | None
    held_at: datetime | None
    normalized_phone: str | None
    body: str | None
    has_no_body: bool
    has_raw: bool
    evidence: JsonObject
    notifications: list[JsonObject]
    notified_at: datetime | None
    notify_attempts: int
    notify_error: str | None
    notify_next_at: datetime | None
    notify_given_up_at: datetime | None
    notify_sent: list[str] | None
    replay_count: int
    replayed_by: str | None
    replayed_at: datetime | None
    owner_id: str | None
    ticket_id: str | None
    sources: list[str]
    has_active_source: bool
    ticket: JsonObject | None
    account: JsonObject | None
    names: Mapping[str, str]
    kill_switch: bool
    processing_paused: bool
    sla_minutes: int

    @property
    def is_emptied(self) -> bool:
        """Whether retention or an erasure emptied the event."""
        return self.has_no_body and not self.has_raw

    @property
    def result(self) -> str | None:
        """The result of the last processing; `outcome` keeps that of an earlier one which changed more."""
        return text_at(self.evidence, "result") or self.outcome

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing more happens to the event by itself: it is done, held or a dead letter."""
        if self.status in ("received", "ingested", "failed"):
            return False
        return not self.notifications or bool(self.notified_at or self.notify_given_up_at)

    def name_of(self, staff_id: object) -> str:
        """Return the name of a member of staff, or the id if there is no such member."""
        return self.names.get(str(staff_id), str(staff_id))


def typed_phones(event: StoredEvent) -> tuple[str, ...]:
    """Return the phones of the event's body as typed; none if it holds no body any more."""
    body = read_json(event.body.encode(), max_bytes=None) if event.body else None
    if not isinstance(body, Mapping):
        return ()
    record = record_of(body)
    return lead.all_phones(lead.typed_phones(record))


def value_at(value: JsonValue, *keys: str) -> JsonValue:
    """Return what lies under these keys; None if there is nothing."""
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def text_at(value: JsonValue, *keys: str) -> str | None:
    """Return the text that lies under these keys; None if there is none."""
    found = value_at(value, *keys)
    return found if isinstance(found, str) else None


def list_at(value: JsonValue, *keys: str) -> list[JsonValue]:
    """Return the items of the list that lies under these keys; none if there is no list."""
    found = value_at(value, *keys)
    return list(found) if isinstance(found, list) else []


def time_at(value: JsonValue, *keys: str) -> datetime | None:
    """Return the time that lies under these keys, aware, as PostgreSQL writes it in JSON; None without."""
    text = text_at(value, *keys)
    return datetime.fromisoformat(text) if text else None
