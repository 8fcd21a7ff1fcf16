"""What polling and reconciliation store: the listed records that no row of ours covers."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from domain.coverage import Stored, covers
from domain.gate import columns, unstorable
from domain.identity import read_json
from domain.listing import Listed, RecordVersion, arrival_of
from domain.record import read_lead

StoredRecords = dict[str, list[Stored]]


def stored_of(rows: Iterable[Mapping[str, Any]]) -> StoredRecords:
    """Rows of coverage/load_stored by record id."""
    stored: StoredRecords = {}
    for row in rows:
        body = read_json(row["payload"].encode(), max_bytes=None) if row["payload"] else None
        version = RecordVersion(
            row["record_id"], row["modified_on"], read_lead(body).fields() if body else {}
        )
        stored.setdefault(row["record_id"], []).append(Stored(version, row["status"], row["error_code"]))
    return stored


def asked_of(items: Sequence[Listed], connection_id: str) -> dict[str, Any]:
    """Parameters of coverage/load_stored for some listed records."""
    return {
        "connection_id": connection_id,
        "record_ids": sorted({item.record_id for item in items}),
        "whole": sorted({item.record_id for item in items if item.version.modified_on is None}),
    }


def covering(item: Listed, stored: StoredRecords) -> list[Stored]:
    """Our rows that cover a listed record; the mapped fields are read only where times cannot decide."""
    rows = stored.get(item.record_id, [])
    timeless = item.version.modified_on is None or any(row.version.modified_on is None for row in rows)
    version = item.with_fields() if rows and timeless else item.version
    return [row for row in rows if covers(row.version, version)]


def missing(items: Sequence[Listed], stored: StoredRecords) -> list[Listed]:
    """The listed records that nothing of ours covers, in the order of the list."""
    return [item for item in items if not covering(item, stored)]


def missing_of(items: Sequence[Listed], rows: Sequence[Mapping[str, Any]]) -> list[Listed]:
    """The same from our rows."""
    return missing(items, stored_of(rows))


def delivery_columns(
    connection_id: str, table: str, origin: str, now: datetime, items: Sequence[Listed], mend: bool
) -> dict[str, Any]:
    """Parameters of ingest_record/store_deliveries; mended, each record is kept as raw bytes only."""
    arrivals = [arrival_of(item, connection_id, table, now) for item in items]
    return columns([unstorable(arrival) for arrival in arrivals] if mend else arrivals, origin, now)
