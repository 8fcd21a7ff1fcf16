"""The records of the simulated workspace, the search index behind the list, and its filters.

Records are kept as JSON bytes and the index as sorted keys, so that a page takes the same time for a hundred
records as for a million. A write appears in the list after a lag, as with a search engine.
"""

import heapq
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

RECORDS_PER_PAGE = 30
TABLES = ("lead", "account", "contact")
Key = tuple[int, str]
"""`modified_on` in microseconds since 1970 UTC, record id."""


def microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@dataclass
class Table:
    now: Callable[[], datetime]
    current: dict[str, bytes] = field(default_factory=dict)
    _listed: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    _keys: list[Key] = field(default_factory=list)
    _waiting: list[tuple[int, int, str, int, bytes]] = field(default_factory=list)
    _sequence: int = 0

    def write(
        self, record: dict[str, Any], *, at: datetime | None = None, lag_seconds: float = 0
    ) -> dict[str, Any]:
        """Insert or update a record at a moment (default: now); the list shows it `lag_seconds` later."""
        moment = at or self.now()
        stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.%f")
        before = self.get(record["id"])
        whole = {**(before or {"created_on": stamp}), **record, "modified_on": stamp}
        content = json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()
        self.current[record["id"]] = content
        self._sequence += 1
        visible = microseconds(self.now()) + int(lag_seconds * 1e6)
        heapq.heappush(self._waiting, (visible, self._sequence, record["id"], microseconds(moment), content))
        return whole

    def get(self, record_id: str) -> dict[str, Any] | None:
        content = self.current.get(record_id)
        return json.loads(content) if content is not None else None

    def delete(self, record_id: str) -> None:
        """Delete a record, and remove it from the list without a lag."""
        self.current.pop(record_id, None)
        self._waiting = [item for item in self._waiting if item[2] != record_id]
        heapq.heapify(self._waiting)
        self._unlist(record_id)

    def page(self, low: int, high: int, cursor: Key | None) -> tuple[list[bytes], Key | None]:
        """Return up to 30 listed records whose key is in [low, high], the newest first.

        The second value is the last key, or None if there are no records.
        """
        self._index()
        keys = list(islice(self._keys_between(low, high, cursor), RECORDS_PER_PAGE))
        return [self._listed[record_id][1] for _, record_id in keys], keys[-1] if keys else None

    def _keys_between(self, low: int, high: int, cursor: Key | None) -> Iterator[Key]:
        start, stop = bisect_left(self._keys, (low, "")), bisect_left(self._keys, (high + 1, ""))
        if cursor is not None:
            stop = min(stop, bisect_left(self._keys, cursor))
        return (self._keys[place] for place in range(stop - 1, start - 1, -1))

    def _index(self) -> None:
        """Add the writes that have become visible to the index."""
        moment, due = microseconds(self.now()), []
        while self._waiting and self._waiting[0][0] <= moment:
            due.append(heapq.heappop(self._waiting))
        # Sorting once is faster than a thousand insertions into a sorted list.
        bulk = len(due) > 1_000
        for _, _, record_id, modified, content in due:
            if record_id in self._listed and self._listed[record_id][0] > modified:
                continue  # an older version that arrives late does not replace a newer one
            if not bulk:
                self._unlist(record_id)
                insort(self._keys, (modified, record_id))
            self._listed[record_id] = (modified, content)
        if bulk:
            self._keys = sorted((modified, record_id) for record_id, (modified, _) in self._listed.items())

    def _unlist(self, record_id: str) -> None:
        if known := self._listed.pop(record_id, None):
            place = bisect_left(self._keys, (known[0], record_id))
            if place < len(self._keys) and self._keys[place] == (known[0], record_id):
                del self._keys[place]


def write_cursor(key: Key) -> str:
    """Return an opaque cursor like the vendor's: page size, time and record id in Base64."""
    return urlsafe_b64encode(json.dumps([RECORDS_PER_PAGE, *key]).encode()).decode().rstrip("=")


def read_cursor(text: str) -> Key:
    """Parse a cursor. Raises ValueError."""
    _, stamp, record_id = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return int(stamp), str(record_id)


EVERYTHING = (-(2**62), 2**62)


def read_filter(text: str | None) -> tuple[int, int]:
    """Return the bounds of `modified_on` in microseconds; naive times are UTC.

    Of the vendor's grammar it reads a range of that time only, as our client asks for. Raises ValueError.
    """
    if not text:
        return EVERYTHING
    (condition,) = json.loads(text)["fields"]
    if (condition["field_name"], condition["type"]) != ("modified_on", "$date_time"):
        raise ValueError(f"not a range of modified_on: {text}")
    moments = (datetime.fromisoformat(value) for value in condition["value"])
    low, high = (microseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC)) for moment in moments)
    return low, high
