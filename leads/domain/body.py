"""Understand what Pancake sends: the three body shapes, loose types, naive times.

Shapes: a flat record; a flat record with `type/event_type/workspace_id/table_id`; `{event, action, data}`
(the vendor's webhook OpenAPI 2.0.0 documents the first, integrations in the field meet the others).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from leads.domain.canonical_json import JsonValue, canonical, payload_hash, read_json, without_nul
from leads.domain.errors import InvalidBody

NO_SOURCE = "(none)"
MAX_SOURCES = 50
MAX_ID_LENGTH = 200
DIGEST_DIGITS = 16
TIMES = ("modified_on", "created_on")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s*(Z|[+-]\d\d(:?\d\d)?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What ingest stores of one body.

    `modified_on` is aware when the body names a zone; naive times are read in the connection's
    `record_timezone`, which only the database knows at that point. `payload` is canonical JSON text;
    `raw` holds the bytes instead when the body is not strict JSON.
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


@dataclass(frozen=True, slots=True)
class Lead:
    """The mapped fields of a record, cleaned. `told` names those that the body contained at all."""

    record_id: str
    name: str | None
    phones: tuple[str, ...]
    email: str | None
    address: str | None
    sources: tuple[str, ...]
    tags: tuple[str, ...]
    interested_products: tuple[str, ...]
    told: frozenset[str]

    def fields(self) -> dict[str, object]:
        """The mapped fields that the body contained, for comparison and for storage."""
        everything = {
            "name": self.name,
            "phones": list(self.phones),
            "email": self.email,
            "address": self.address,
            "sources": list(self.sources),
            "tags": list(self.tags),
            "interested_products": list(self.interested_products),
        }
        return {key: value for key, value in everything.items() if key in self.told}

    def digests(self) -> dict[str, str]:
        """The same fields as digests, which still show a change when the body they came from is gone."""
        return {
            key: payload_hash(canonical([self.record_id, key, value])).hex()[:DIGEST_DIGITS]
            for key, value in self.fields().items()
        }


def read_delivery(raw: bytes) -> Delivery:
    """Read one body for storage; whatever it is, a Delivery comes back."""
    try:
        value = read_json(raw)
        if not isinstance(value, dict):
            raise InvalidBody("The body is not a JSON object.")
    except InvalidBody as error:
        return Delivery(
            payload_hash=payload_hash(raw), raw=raw, error_code=error.code, error_detail=str(error)
        )
    return delivery_of(value)


def delivery_of(value: Mapping[str, JsonValue]) -> Delivery:
    """The Delivery of a parsed JSON object."""
    text = canonical(value)
    notes: tuple[str, ...] = ()
    if "\\u0000" in text and (stripped := without_nul(value)) != value:
        value, text, notes = stripped, canonical(stripped), ("nul_removed",)
    digest = payload_hash(text)
    record = record_of(value)
    record_id = _identifier(record.get("id"))
    if record_id is None:
        code = "test_ping" if _is_test_ping(value) else "missing_record_id"
        return Delivery(digest, text, error_code=code, error_detail="The body has no record id.", notes=notes)
    return Delivery(
        payload_hash=digest,
        payload=text,
        record_id=record_id,
        table_name=_identifier(record.get("table_id")),
        modified_on=next((time for key in TIMES if (time := read_time(record.get(key)))), None),
        source_ids=source_ids(record) or (NO_SOURCE,),
        notes=notes,
    )


def record_of(body: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """The record inside a body of any of the three shapes."""
    data = body.get("data")
    return data if isinstance(data, Mapping) and "id" not in body else body


def read_lead(body: Mapping[str, JsonValue]) -> Lead:
    """The mapped fields of a stored payload. Raises InvalidBody if it has no record id."""
    record = record_of(body)
    record_id = _identifier(record.get("id"))
    if record_id is None:
        raise InvalidBody("The body has no record id.", code="missing_record_id")
    return Lead(
        record_id=record_id,
        name=_text(record.get("name"), 500),
        phones=tuple(
            dict.fromkeys(
                _texts(record.get("phone_number"), 200) + _texts(record.get("secondary_phone_number"), 200)
            )
        ),
        email=_text(record.get("email"), 320),
        address=_address(record.get("full_address")),
        sources=source_ids(record),
        tags=tuple(sorted(_texts(record.get("pancake_tags"), 200))),
        interested_products=tuple(sorted(_texts(record.get("interested_product"), 500))),
        told=frozenset(field for field, keys in _KEYS_OF_FIELD.items() if any(key in record for key in keys)),
    )


def source_ids(record: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """The record's source ids as text, each once: Pancake sends strings or integers."""
    source = record.get("source")
    items = source if isinstance(source, list) else [source]
    found = (_identifier(item.get("id") if isinstance(item, Mapping) else item) for item in items)
    return tuple(dict.fromkeys(item for item in found if item))[:MAX_SOURCES]


def read_time(value: JsonValue) -> datetime | None:
    """An ISO 8601 time, aware if it names a zone, else naive; None for anything else."""
    if not isinstance(value, str) or not _ISO.fullmatch(value.strip()):
        return None
    try:
        time = datetime.fromisoformat(value.strip().replace(",", "."))
    except ValueError:
        return None
    return time if time.year > 1 and time.year < 9999 else None


_KEYS_OF_FIELD = {
    "name": ("name",),
    "phones": ("phone_number", "secondary_phone_number"),
    "email": ("email",),
    "address": ("full_address",),
    "sources": ("source",),
    "tags": ("pancake_tags",),
    "interested_products": ("interested_product",),
}


def _identifier(value: JsonValue) -> str | None:
    text = _text(value, MAX_ID_LENGTH + 1)
    return text if text and len(text) <= MAX_ID_LENGTH else None


def _text(value: JsonValue, limit: int) -> str | None:
    if not isinstance(value, str):
        return None
    return str(value).strip()[:limit] or None


def _texts(value: JsonValue, limit: int) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(text for item in items[:MAX_SOURCES] if (text := _text(item, limit)))


def _address(value: JsonValue) -> str | None:
    """`full_address` is text, or `["text", "<dial code>"]` from some clients."""
    return _text(value[0] if isinstance(value, list) and value else value, 2000)


def _is_test_ping(body: Mapping[str, JsonValue]) -> bool:
    """Pancake's "Test webhook" is not documented: an empty object, or one that says it is a test."""
    words = {str(body.get(key)).lower() for key in ("type", "event", "event_type", "action")}
    return not body or body.get("test") is True or bool(words & {"test", "ping", "webhook_test"})
