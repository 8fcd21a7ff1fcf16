"""A delivery as ingest stores it: the body of a record with its hash, record id, sources, and how it came.

Three shapes of body are accepted: a flat record; a flat record with
`type/event_type/workspace_id/table_id`; `{event, action, data}`. The vendor's webhook OpenAPI 2.0.0 documents
the first; integrations receive all. Times are ISO 8601, often without a time zone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from leads.domain.canonical_json import (
    JsonObject,
    JsonValue,
    canonical,
    object_without_nul,
    payload_hash,
    read_json,
)
from leads.domain.errors import InvalidBody

NO_SOURCE = "(none)"
"""The pseudo-source of a record without any source."""

MAX_ITEMS_PER_FIELD = 50
MAX_ID_CHARACTERS = 200
TIME_KEYS = ("modified_on", "created_on")
"""The version of a record: the first of these that holds a time."""
ICT = timezone(timedelta(hours=7), "ICT")
"""Indochina time, the zone of the operator's day; without daylight saving."""
MAX_TIME_CHARACTERS = 64
MAX_OFFSET = timedelta(hours=15, minutes=59)
"""PostgreSQL refuses a time whose zone is further from UTC."""
# `fromisoformat` also takes week dates and times without separators, which Pancake does not send.
_ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s*(Z|[+-]\d\d(:?\d\d)?)?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A body that came by a token (webhook) or for a connection (polling, reconciliation)."""

    body: "Body"
    arrived_at: datetime
    token_sha256: bytes | None = None
    connection_id: str | None = None
    source_ip: str | None = None

    def as_raw(self) -> "Delivery":
        """Return the same delivery with its body kept as bytes (`Body.as_raw`)."""
        return replace(self, body=self.body.as_raw())


@dataclass(frozen=True, slots=True)
class Body:
    """A body as ingest stores it.

    `modified_on` is aware when the body names a zone. A naive time is read in the connection's
    `record_timezone`, which only the database knows at that point. `payload` is canonical JSON text;
    `raw` holds the bytes instead when the body is not strict JSON. `record` is the record as it was read,
    None if the body is not a JSON object.
    """

    payload_hash: bytes
    payload: str | None = None
    raw: bytes | None = None
    record_id: str | None = None
    table_name: str | None = None
    modified_on: datetime | None = None
    source_ids: tuple[str, ...] = ()
    error_code: str | None = None
    error_detail: str | None = None
    notes: tuple[str, ...] = ()
    record: JsonObject | None = field(default=None, compare=False, repr=False)

    def as_raw(self) -> "Body":
        """Keep the bytes only, for JSON that PostgreSQL cannot hold (a huge number)."""
        raw = (self.payload or "").encode() or self.raw or b""
        return Body(
            payload_hash=payload_hash(raw),
            raw=raw,
            error_code="unstorable",
            error_detail="The body is JSON that the database cannot hold.",
            record=self.record,
        )


def read_body(raw: bytes) -> Body:
    """Read any bytes; bytes that are not a strict JSON object are kept as `raw` with an error code."""
    try:
        value = read_json(raw)
        if not isinstance(value, dict):
            raise InvalidBody("The body is not a JSON object.")
    except InvalidBody as error:
        return Body(payload_hash=payload_hash(raw), raw=raw, error_code=error.code, error_detail=str(error))
    return body_of(value)


def body_of(value: Mapping[str, JsonValue]) -> Body:
    text = canonical(value)
    notes: tuple[str, ...] = ()
    if "\\u0000" in text and (stripped := object_without_nul(value)) != value:
        value, text, notes = stripped, canonical(stripped), ("nul_removed",)
    digest = payload_hash(text)
    record = record_of(value)
    record_id = read_identifier(record.get("id"))
    if record_id is None:
        code = "test_ping" if _is_test_ping(value) else "missing_record_id"
        detail = "The body has no record id."
        return Body(digest, text, error_code=code, error_detail=detail, notes=notes, record=record)
    return Body(
        payload_hash=digest,
        payload=text,
        record_id=record_id,
        table_name=read_identifier(record.get("table_id")),
        modified_on=modified_time(record),
        source_ids=(source_ids(record) or (NO_SOURCE,)) if "source" in record else (),
        notes=notes,
        record=record,
    )


def _is_test_ping(body: Mapping[str, JsonValue]) -> bool:
    """Pancake's "Test webhook" is not documented: an empty object, or one that says it is a test."""
    words = {str(body.get(key)).lower() for key in ("type", "event", "event_type", "action")}
    return not body or body.get("test") is True or bool(words & {"test", "ping", "webhook_test"})


def record_of(body: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """Return the record inside a body of any of the three shapes."""
    data = body.get("data")
    return data if isinstance(data, Mapping) and "id" not in body else body


def is_deletion(body: Mapping[str, JsonValue]) -> bool:
    """Whether the body says that its record was deleted: the last word of `action` or `event_type`."""
    words = (str(body.get(key)).lower() for key in ("action", "event_type"))
    return any(re.split(r"[^a-z]+", word[:MAX_ID_CHARACTERS])[-1] in ("delete", "deleted") for word in words)


def source_ids(record: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """Return the record's source ids as text, each once: Pancake sends strings or integers."""
    source = record.get("source")
    items = source if isinstance(source, list) else [source]
    found = (read_identifier(item.get("id") if isinstance(item, Mapping) else item) for item in items)
    return tuple(dict.fromkeys(item for item in found if item))[:MAX_ITEMS_PER_FIELD]


def read_identifier(value: JsonValue) -> str | None:
    """Read an id of at most MAX_ID_CHARACTERS; a longer one is not cut, since two could become equal."""
    text = read_text(value, MAX_ID_CHARACTERS + 1)
    return text if text and len(text) <= MAX_ID_CHARACTERS else None


def read_text(value: JsonValue, max_characters: int) -> str | None:
    """Read text or a number, trimmed and cut; None for an empty text and for anything else."""
    if not isinstance(value, str):  # a number is a str too: canonical_json.Number
        return None
    return str(value).strip()[:max_characters] or None


def modified_time(record: Mapping[str, JsonValue]) -> datetime | None:
    """Return when the record was modified, else created, naive or aware as written; None without both."""
    return next((time for key in TIME_KEYS if (time := read_time(record.get(key)))), None)


def read_time(value: object) -> datetime | None:
    """Read an ISO 8601 time: aware if it names a zone, else naive. None for anything else."""
    if not isinstance(value, str) or len(value) > MAX_TIME_CHARACTERS:
        return None
    text = value.strip()
    if not _ISO_8601.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text.replace(",", "."))
    except ValueError:
        return None
    if abs(time.utcoffset() or timedelta()) > MAX_OFFSET:
        return None
    # In the years 1 and 9999 a conversion to another zone can leave the range of datetime.
    return time if 1 < time.year < 9999 else None


def in_utc(time: datetime, zone: tzinfo) -> datetime:
    """Convert to UTC; a naive time is read in `zone`."""
    return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)
