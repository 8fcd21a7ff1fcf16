"""What of a listed day or page we have stored, by identity and version, and where each record stands.

A listed version is covered if we have a row of that record that is not older. The payload hash plays no part:
the bodies of webhook and list differ in keys for one and the same version.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from leads.domain.body import read_lead
from leads.domain.canonical_json import read_json
from leads.domain.lifecycle import (
    DEAD_LETTER,
    FAILED,
    INGESTED,
    PROCESSED,
    RECEIVED,
    SKIPPED_KILL_SWITCH,
    SKIPPED_SOURCE_DISABLED,
)
from leads.domain.listing import Listed, RecordVersion

STANDINGS = {
    PROCESSED: "processed",
    RECEIVED: "pending",
    INGESTED: "pending",
    FAILED: "pending",
    SKIPPED_KILL_SWITCH: "held",
    SKIPPED_SOURCE_DISABLED: "held",
    DEAD_LETTER: "rejected",
}
"""What a row's status says of its record, the best word first."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A version that stands in our table, with its state there."""

    version: RecordVersion
    status: str
    error_code: str | None = None


StoredRecords = dict[str, list[Stored]]
"""Our rows by record id."""


def truncated(moment: datetime) -> datetime:
    """To the millisecond, in UTC: webhook and list do not always write the same precision."""
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def covers(ours: RecordVersion, listed: RecordVersion) -> bool:
    """Whether a version of ours makes fetching the listed one needless: same record, and not older.

    If either has no time, the mapped fields decide.
    """
    if ours.record_id != listed.record_id:
        return False
    if ours.modified_on is None or listed.modified_on is None:
        return same_fields(ours.mapped, listed.mapped)
    return truncated(ours.modified_on) >= truncated(listed.modified_on)


def same_fields(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two bodies say the same about every mapped field that both mention, and share one at least."""
    shared = one.keys() & other.keys()
    return bool(shared) and all(one[field] == other[field] for field in shared)


def standing(rows: Iterable[Stored]) -> str:
    """The word for a record by the rows that cover it, of which there is one at least: the best of theirs.

    A row that was processed settles the record even if another version of it waits or was refused.
    """
    states = {row.status for row in rows}
    return next(word for status, word in STANDINGS.items() if status in states)


def stored_of(rows: Iterable[Mapping[str, Any]]) -> StoredRecords:
    """Rows of pancake_lists/load_events by record id."""
    stored: StoredRecords = {}
    for row in rows:
        body = read_json(row["payload"].encode(), max_bytes=None) if row["payload"] else None
        version = RecordVersion(
            row["record_id"], row["modified_on"], read_lead(body).fields() if body else {}
        )
        stored.setdefault(row["record_id"], []).append(Stored(version, row["status"], row["error_code"]))
    return stored


def asked_of(items: Sequence[Listed], connection_id: str) -> dict[str, Any]:
    """Parameters of pancake_lists/load_events for some listed records."""
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
