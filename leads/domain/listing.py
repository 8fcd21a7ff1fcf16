"""Read the records of Pancake's lists as leads, and as deliveries for storage.

One record of an unexpected shape does not affect the others of its page.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import TypedDict

from leads.domain.body import Body, Delivery, body_of, in_utc, modified_time, read_body
from leads.domain.canonical_json import MAX_DEPTH, JsonObject, JsonValue, canonical, has_exponent
from leads.domain.lead import read_lead
from leads.domain.table_record import TableRecord

MAX_PLAIN_CHARACTERS = 16 * 1024
"""UTF-8 has at most 4 bytes per character, so a shorter text stays below MAX_BODY_BYTES."""


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


class SavedPosition(TypedDict):
    """The JSON of a ListPosition."""

    table: int
    cursor: str | None
    pages: int
    short_pages: int
    ending: str | None


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

    @classmethod
    def load(cls, saved: SavedPosition) -> "ListPosition":
        return cls(**saved)

    def save(self) -> SavedPosition:
        return {
            "table": self.table,
            "cursor": self.cursor,
            "pages": self.pages,
            "short_pages": self.short_pages,
            "ending": self.ending,
        }

    def advance(self, cursor: str | None, pages: int, short_pages: int) -> None:
        """Go on to the page of `cursor`, after so many more pages."""
        self.cursor = cursor
        self.pages += pages
        self.short_pages += short_pages


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
