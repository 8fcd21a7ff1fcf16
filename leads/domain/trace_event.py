"""An event as a trace sees it: its row, what Diva's database says of it now, and a step of its story."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from leads.domain.body import ICT, record_of
from leads.domain.canonical_json import JsonObject, JsonValue, read_json
from leads.domain.event_states import AT_REST, HELD, what_holds
from leads.domain.fields import FIELDS
from leads.domain.lead import all_phones, typed_phones
from leads.domain.phone import local_form
from leads.domain.visible_text import duration, read_texts

MAX_NAMES = 3
ENGLISH, VIETNAMESE = LANGUAGES = ("en", "vi")
TEXTS: Mapping[str, Mapping[str, Sequence[str]]] = read_texts("trace_texts.toml")
"""The texts of a trace in each language, by table and name."""


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of a trace in one of LANGUAGES."""

    language: str = ENGLISH

    def say(self, key: str, **values: object) -> str:
        """Return the text `table.name` with its values."""
        table, _, name = key.partition(".")
        return TEXTS[table][name][LANGUAGES.index(self.language)].format_map(values)

    def word(self, table: str, code: str | None) -> str:
        """Return the words of a code; of one that has none, the code."""
        return self.say(f"{table}.{code}") if code in TEXTS[table] else code or ""

    def field(self, name: object) -> str:
        """Return the label of a mapped field; in English its name."""
        labels: dict[object, str] = {
            each: field.label for each, field in FIELDS.items() if self.language == VIETNAMESE
        }
        return labels.get(name) or self.say("lead.field", name=name)

    def time(self, time: datetime | None) -> str:
        """Return date and time: to the second in UTC, in Vietnamese to the minute in Vietnam."""
        if time is None:
            return self.say("lead.unknown_time")
        if self.language == VIETNAMESE:
            return f"{time.astimezone(ICT):%H:%M %d/%m/%Y}"
        return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"

    def duration(self, time: timedelta) -> str:
        return duration(time, in_vietnamese=self.language == VIETNAMESE)

    def phone(self, number: str) -> str:
        """Return a number in E.164, in Vietnamese as people in Vietnam write it."""
        return local_form(number) if self.language == VIETNAMESE else number

    def listed(self, names: Sequence[str]) -> str:
        """Return the first names, and how many others there are."""
        rest = len(names) - MAX_NAMES
        return ", ".join(names[:MAX_NAMES]) + (self.say("lead.more", rest=rest) if rest > 0 else "")


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to a lead, or what is so now. `at` is None for what belongs to the step before.

    `kind` is the layer of an arrival (webhook, poll, reconcile), else one of these, in the order in which an
    event has them: replay, held, waits, failed, dead_letter, result, customer, owner, recall, skipped,
    roster, note, told, ticket.
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
    staff that the event mentions, by id. `fault` of an error is lead, sender, none or
    integration. The settings are those of now, `language` is that of the trace.
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
    fault: str
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
    language: str

    @property
    def words(self) -> Words:
        return Words(self.language)

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
