"""The records of the simulated workspace, and the search index that lists them.

Each record is kept as JSON bytes, the index as sorted keys, so that a page costs the same among a hundred
records and a million. What is written becomes visible in the list after a lag, as with a search engine.
"""

import heapq
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

PAGE_SIZE = 30
TABLES = ("lead", "account", "contact")
Key = tuple[int, str]
"""`modified_on` in microseconds since 1970 UTC, record id."""


def micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@dataclass
class Table:
    """One table of records."""

    now: Callable[[], datetime]
    zone: timedelta = timedelta()
    current: dict[str, bytes] = field(default_factory=dict)
    _listed: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    _keys: list[Key] = field(default_factory=list)
    _waiting: list[tuple[int, int, str, int, bytes]] = field(default_factory=list)
    _sequence: int = 0

    def write(self, record: dict[str, Any], *, at: datetime | None = None, lag: float = 0) -> dict[str, Any]:
        """Insert or update a record as of `at` (now); it shows in the list `lag` seconds later."""
        moment = at or self.now()
        stamp = (moment + self.zone).strftime("%Y-%m-%dT%H:%M:%S.%f")
        before = self.get(record["id"])
        whole = {**(before or {"created_on": stamp}), **record, "modified_on": stamp}
        content = json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()
        self.current[record["id"]] = content
        self._sequence += 1
        visible = micros(self.now()) + int(lag * 1e6)
        heapq.heappush(self._waiting, (visible, self._sequence, record["id"], micros(moment), content))
        return whole

    def get(self, record_id: str) -> dict[str, Any] | None:
        """The record as it is now."""
        content = self.current.get(record_id)
        return json.loads(content) if content is not None else None

    def delete(self, record_id: str) -> None:
        """Remove a record, from the list at once."""
        self.current.pop(record_id, None)
        self._waiting = [item for item in self._waiting if item[2] != record_id]
        heapq.heapify(self._waiting)
        self._unlist(record_id)

    def page(
        self, low: int, high: int, cursor: Key | None, accepts: Callable[[dict[str, Any]], bool] | None,
        *, descending: bool,
    ) -> tuple[list[bytes], Key | None]:  # fmt: skip
        """The next 30 listed records with a key in [low, high] that `accepts` takes, and the last key."""
        self._index()
        entries: list[bytes] = []
        last = None
        for key in self._walk(low, high, cursor, descending):
            content = self._listed[key[1]][1]
            if accepts is None or accepts(json.loads(content)):
                entries.append(content)
                last = key
                if len(entries) == PAGE_SIZE:
                    break
        return entries, last

    def _walk(self, low: int, high: int, cursor: Key | None, descending: bool) -> Iterator[Key]:
        start, stop = bisect_left(self._keys, (low, "")), bisect_left(self._keys, (high + 1, ""))
        if cursor is not None and descending:
            stop = min(stop, bisect_left(self._keys, cursor))
        elif cursor is not None:
            start = max(start, bisect_right(self._keys, cursor))
        places = range(stop - 1, start - 1, -1) if descending else range(start, stop)
        return (self._keys[place] for place in places)

    def _index(self) -> None:
        """Let the index catch up with what has become visible; a large load is sorted once."""
        moment, due = micros(self.now()), []
        while self._waiting and self._waiting[0][0] <= moment:
            due.append(heapq.heappop(self._waiting))
        bulk = len(due) > 1_000
        for _, _, record_id, modified, content in due:
            if record_id in self._listed and self._listed[record_id][0] > modified:
                continue  # a late older version never takes the place of a newer one
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
    """An opaque cursor, shaped like the vendor's: page size, time in milliseconds and more, record id."""
    return urlsafe_b64encode(json.dumps([PAGE_SIZE, *key]).encode()).decode().rstrip("=")


def read_cursor(text: str) -> Key:
    """Raises ValueError for what is no cursor."""
    _, stamp, record_id = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return int(stamp), str(record_id)
