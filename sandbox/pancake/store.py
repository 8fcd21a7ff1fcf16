"""The records of the simulated workspace, the search index behind the list, and its filters.

Records are kept as JSON bytes and the index as sorted keys, so that a page takes the same time for a hundred
records as for a million. A write appears in the list after a lag, as with a search engine.
"""

import heapq
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

RECORDS_PER_PAGE = 30
TABLES = ("lead", "account", "contact")
Key = tuple[int, str]
"""`modified_on` in microseconds since 1970 UTC, record id."""


def microseconds(moment: datetime) -> int:
    """Return the microseconds since 1970."""
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

    def write(
        self, record: dict[str, Any], *, at: datetime | None = None, lag_seconds: float = 0
    ) -> dict[str, Any]:
        """Insert or update a record at a moment (default: now); the list shows it `lag_seconds` later."""
        moment = at or self.now()
        stamp = (moment + self.zone).strftime("%Y-%m-%dT%H:%M:%S.%f")
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

    def page(
        self, low: int, high: int, cursor: Key | None, accepts: Callable[[dict[str, Any]], bool] | None,
        *, descending: bool,
    ) -> tuple[list[bytes], Key | None]:  # fmt: skip
        """Return up to 30 listed records whose key is in [low, high] and that `accepts` takes.

        The second value is the last key, or None if there are no records.
        """
        self._index()
        entries: list[bytes] = []
        last = None
        for key in self._keys_between(low, high, cursor, descending):
            content = self._listed[key[1]][1]
            if accepts is None or accepts(json.loads(content)):
                entries.append(content)
                last = key
                if len(entries) == RECORDS_PER_PAGE:
                    break
        return entries, last

    def _keys_between(self, low: int, high: int, cursor: Key | None, descending: bool) -> Iterator[Key]:
        start, stop = bisect_left(self._keys, (low, "")), bisect_left(self._keys, (high + 1, ""))
        if cursor is not None and descending:
            stop = min(stop, bisect_left(self._keys, cursor))
        elif cursor is not None:
            start = max(start, bisect_right(self._keys, cursor))
        places = range(stop - 1, start - 1, -1) if descending else range(start, stop)
        return (self._keys[place] for place in places)

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


Test = Callable[[dict[str, Any]], bool]
EVERYTHING = (-(2**62), 2**62)


@dataclass(frozen=True)
class Filter:
    """`low` and `high` bound `modified_on` in microseconds; `accepts` tests what the bounds cannot."""

    low: int = EVERYTHING[0]
    high: int = EVERYTHING[1]
    accepts: Test | None = None


def read_filter(text: str | None, zone: timedelta) -> Filter:
    """Parse the parameter; naive times have the UTC offset `zone`. Raises ValueError if it is invalid."""
    if not text:
        return Filter()
    wanted = json.loads(text)
    fields = wanted.get("fields") or []
    search = str(wanted.get("search_all") or "").strip().lower()
    if len(fields) == 1 and not search and _is_range(fields[0]):
        low, high = (_moment(value, zone) for value in fields[0]["value"])
        return Filter(microseconds(low), microseconds(high))
    tests = [_condition(condition, zone) for condition in fields]
    combine = any if wanted.get("is_group") else all
    return Filter(accepts=lambda r: (not tests or combine(t(r) for t in tests)) and _found(r, search))


def _is_range(condition: dict[str, Any]) -> bool:
    return (
        condition.get("field_name") == "modified_on"
        and condition.get("type") == "$date_time"
        and not condition.get("is_filter_exclude")
    )


def _moment(value: str, zone: timedelta) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC) - zone


def _found(record: dict[str, Any], search: str) -> bool:
    return not search or any(search in str(value).lower() for value in record.values() if value)


def _condition(condition: dict[str, Any], zone: timedelta) -> Test:
    name, kind, value = condition["field_name"], condition.get("type"), condition.get("value")
    operator = _OPERATORS.get(str(kind))
    if operator is None:
        raise ValueError(f"unknown operator {kind}")
    if kind == "$date_time":
        value = [_moment(item, zone) for item in value or ()]
    negated = bool(condition.get("is_filter_exclude"))
    return lambda record: operator(record.get(name), value) != negated


def _between(have: Any, want: Any) -> bool:
    if not have:
        return False
    moment = datetime.fromisoformat(str(have))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return bool(want[0] <= moment <= want[1])


def _any_of(have: Any, want: Any) -> bool:
    return bool({str(item) for item in (have if isinstance(have, list) else [have])} & {str(i) for i in want})


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$having_value": lambda have, _: have not in (None, "", []),
    "$having_no_value": lambda have, _: have in (None, "", []),
    "$enter_value": lambda have, want: str(want).lower() in str(have or "").lower(),
    "$select_multi": _any_of,
    "$association": _any_of,
    "$date_time": _between,
    "$greater_than": lambda have, want: have is not None and float(have) > float(want),
    "$less_than": lambda have, want: have is not None and float(have) < float(want),
    "$greater_than_equal": lambda have, want: have is not None and float(have) >= float(want),
    "$less_than_equal": lambda have, want: have is not None and float(have) <= float(want),
}
