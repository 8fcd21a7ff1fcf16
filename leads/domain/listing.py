"""What Pancake's REST API lists, as versions and deliveries.

Loose where the vendor is: one odd record spoils no page.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from typing import Any

from leads.domain.body import TIMES, Delivery, delivery_of, read_delivery, read_lead, read_time
from leads.domain.canonical_json import MAX_DEPTH, JsonValue, Number, canonical, has_exponent
from leads.domain.delivery import Arrival, columns, unstorable
from leads.domain.window import in_zone

PLAIN_LENGTH = 16 * 1024
_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=Number)


@dataclass(frozen=True, slots=True)
class RecordVersion:
    """One version of a record: `modified_on` in UTC or unknown; its mapped fields, where they are needed."""

    record_id: str
    modified_on: datetime | None
    mapped: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listed:
    """One record of a list: which version it is, and the record itself."""

    version: RecordVersion
    entry: Mapping[str, JsonValue]

    @property
    def record_id(self) -> str:
        """The record's id."""
        return self.version.record_id

    def with_fields(self) -> RecordVersion:
        """The version with its mapped fields, for a comparison without times."""
        return replace(self.version, mapped=read_lead(self.entry).fields())


def read_answer(content: bytes) -> JsonValue:
    """The JSON of an answer, with numbers as they were written; None if it is none."""
    try:
        return _DECODER.decode(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def listed(entries: Iterable[Mapping[str, JsonValue]], zone: tzinfo) -> list[Listed]:
    """The records of a page that have an id; naive times are read in `zone`."""
    return [
        Listed(RecordVersion(str(entry["id"]), modified_on(entry, zone)), entry)
        for entry in entries
        if isinstance(entry.get("id"), str) and entry["id"]
    ]


def modified_on(entry: Mapping[str, JsonValue], zone: tzinfo) -> datetime | None:
    """When the record was modified, else created, in UTC; None if neither is told."""
    moment = next((time for key in TIMES if (time := read_time(entry.get(key)))), None)
    return in_zone(moment, zone) if moment else None


def arrival_of(item: Listed, connection_id: str, table: str, now: datetime) -> Arrival:
    """A listed record as it passes the gate: read as strictly as a webhook's body."""
    return Arrival(replace(_delivery(item.entry), table_name=table), now, connection_id=connection_id)


def delivery_columns(
    connection_id: str, table: str, origin: str, now: datetime, items: Sequence[Listed], mend: bool
) -> dict[str, Any]:
    """Parameters of ingest_record/store_deliveries; mended, each record is kept as raw bytes only."""
    arrivals = [arrival_of(item, connection_id, table, now) for item in items]
    return columns([unstorable(arrival) for arrival in arrivals] if mend else arrivals, origin, now)


def _delivery(entry: Mapping[str, JsonValue]) -> Delivery:
    """Most records are so plain that nothing in them could be refused; any other is read anew, strictly."""
    try:
        delivery = delivery_of(entry)
    except (ValueError, RecursionError):
        delivery = None
    text = (delivery and delivery.payload) or ""
    plain = 0 < len(text) <= PLAIN_LENGTH and text.count("{") + text.count("[") <= MAX_DEPTH
    if delivery and plain and "NaN" not in text and "Infinity" not in text and not has_exponent(text):
        return delivery
    return read_delivery(canonical(entry).encode("utf-8", "surrogatepass"))
