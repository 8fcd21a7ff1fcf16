"""An event as a trace sees it: its row, what Diva's database says of it now, and a step of its story."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from leads.domain.body import record_of
from leads.domain.canonical_json import JsonObject, JsonValue, read_json
from leads.domain.event_states import AT_REST, HELD, what_holds
from leads.domain.lead import all_phones, typed_phones

MAX_NAMES = 3


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to a lead, or what is so now. `at` is None for what belongs to the step before.

    `kind` is the layer of an arrival (webhook, poll, reconcile), else one of these, in the order in which an
    event has them: replay, held, waits, failed, dead_letter, result, customer, owner, recall, skipped, note,
    told, ticket.
    """

    kind: str
    text: str
    at: datetime | None = None
    event_id: int | None = None


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
    def is_held(self) -> bool:
        return self.status in HELD

    @property
    def held_by(self) -> str:
        return what_holds(self.status, text_at(self.evidence, "held_by"))

    @property
    def result(self) -> str | None:
        """The result of the last processing; `outcome` keeps that of an earlier one which changed more."""
        return text_at(self.evidence, "result") or self.outcome

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing more happens to the event by itself: it is done, held or a dead letter."""
        if self.status not in AT_REST:
            return False
        return not self.notifications or bool(self.notified_at or self.notify_given_up_at)

    def name_of(self, staff_id: object) -> str:
        """Return the name of a member of staff, or the id if there is no such member."""
        return self.names.get(str(staff_id), str(staff_id))

    def phones_as_typed(self) -> tuple[str, ...]:
        """Return the phones of the event's body; none if it holds no body any more."""
        body = read_json(self.body.encode(), max_bytes=None) if self.body else None
        return all_phones(typed_phones(record_of(body))) if isinstance(body, Mapping) else ()


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


def clock_time(time: datetime | None) -> str:
    """Return the date and time to the second, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if time else "an unknown time"


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many others there are."""
    rest = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")
