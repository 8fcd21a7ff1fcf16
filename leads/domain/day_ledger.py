"""The ledger of one ICT day of one connection: where each record that Pancake lists stands with us.

It closes when every listed record is processed, held, or rejected with its reason; what nothing of ours
covers is named, as found missing when it was inserted, else as left missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zlib import crc32

from leads.domain.coverage import StoredRecords, covering, standing
from leads.domain.listing import Listed
from leads.domain.window import Window, day_window

SAMPLE = 10
"""Of the day before, one record in so many is looked at again."""


class Reckoning:
    """Keeps everything in `state`, a JSON object, so that an interrupted day goes on where it stopped."""

    def __init__(self, day: date, state: dict[str, Any]) -> None:
        self.day = day
        self.window = day_window(day)
        self._before = Window(self.window.start - timedelta(days=1), self.window.start)
        self.state = state
        for name in ("processed", "held", "pending", "found", "sampled"):
            state.setdefault(name, 0)
        for name in ("found_missing", "left_missing", "duplicates", "rejected", "sample_missing"):
            state.setdefault(name, [])
        self.seen: dict[str, int] = state.setdefault("seen", {})

    def select(self, items: Iterable[Listed]) -> list[Listed]:
        """Of a page, the records of the day, each once, and a sample of those of the day before."""
        chosen = []
        for item in items:
            time = item.version.modified_on
            if time is None or time in self.window:
                if item.record_id in self.seen:
                    self.state["duplicates"].append(item.record_id)
                else:
                    self.seen[item.record_id] = 1
                    chosen.append(item)
            elif time in self._before and crc32(item.record_id.encode()) % SAMPLE == 0:
                chosen.append(item)
        return chosen

    def enter(self, items: Sequence[Listed], ours: StoredRecords, inserted: Mapping[str, str]) -> None:
        """Enter a page: `ours` are our rows, `inserted` the status of each record that was added now."""
        for item in items:
            rows = covering(item, ours)
            added = inserted.get(item.record_id, "duplicate") != "duplicate"
            if item.record_id not in self.seen:
                self._enter_sample(item, found=bool(rows) and not added)
            elif added:
                self.state["found_missing"].append(item.record_id)
            elif rows:
                self.state["found"] += 1
                self._enter_standing(item.record_id, standing(rows), rows[-1].error_code)
            else:
                self.state["left_missing"].append(item.record_id)

    def begin_anew(self) -> None:
        """Forget what was read of a day that did not close, but not what was added then."""
        added = {name: self.state[name] for name in ("found_missing", "sample_missing")}
        self.state.clear()
        self.state.update(added)

    def report(
        self, ours: Mapping[str, Any], looked_up: Sequence[str], now_at: Mapping[str, datetime | None]
    ) -> dict[str, Any]:
        """The report of a day read to its end.

        `ours` is the row of reconcile_daily/compare_day; `now_at` holds the present time of each stranger
        that was looked up and still exists.
        """
        unlisted = [i for i in looked_up if (time := now_at.get(i)) is not None and time in self.window]
        unexpected = [i for i in looked_up if i not in now_at]
        state = {key: value for key, value in self.state.items() if key not in ("seen", "table", "cursor")}
        return {
            "day": self.day.isoformat(),
            "expected": len(self.seen),
            "inserted": len(self.state["found_missing"]) + len(self.state["sample_missing"]),
            "superseded": ours["superseded"],
            "unexpected": unexpected,
            "unlisted": unlisted,
            "not_looked_up": len(ours["strangers"]) - len(looked_up),
            **state,
        }

    def _enter_standing(self, record_id: str, word: str, error_code: str | None) -> None:
        if word == "rejected":
            self.state["rejected"].append([record_id, error_code or "unknown"])
        else:
            self.state[word] += 1

    def _enter_sample(self, item: Listed, *, found: bool) -> None:
        self.state["sampled"] += 1
        if not found:
            self.state["sample_missing"].append(item.record_id)
