"""One poll of a connection: its window, what the answer has to contain, what it contained."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from leads.domain.listing import Listed
from leads.domain.window import (
    OVERLAP,
    WIDEN,
    Window,
    advance,
    latest_window,
    next_window,
    trusted,
    unreturned,
)

MAX_IDS = 1_000
"""How many ids a report lists of each kind."""


class Poll:
    """Keeps everything in `state`, a JSON object, so that an interrupted poll goes on where it stopped."""

    def __init__(self, window: Window, state: dict[str, Any]) -> None:
        self.window = window
        self.state = state
        state["window"] = [window.start.isoformat(), window.end.isoformat()]
        self._awaited = {i: datetime.fromisoformat(t) for i, t in state.setdefault("awaited", {}).items()}
        for name, start in (("listed", 0), ("outside", 0), ("missed", 0), ("missed_ids", [])):
            state.setdefault(name, start)

    @classmethod
    def after(cls, watermark: datetime | None, now: datetime, state: dict[str, Any]) -> "Poll":
        """The poll of the next window, which remembers the latest one if that must be read besides."""
        window = next_window(watermark, now)
        if latest := latest_window(window, now):
            cls(latest, state.setdefault("latest", {}))
        return cls(window, state)

    @classmethod
    def resumed(cls, state: dict[str, Any]) -> "Poll":
        """The poll that a state remembers."""
        start, end = (datetime.fromisoformat(text) for text in state["window"])
        return cls(Window(start, end), state)

    @property
    def latest(self) -> "Poll | None":
        """The poll of the latest window, if it must be read besides this one; it moves no watermark."""
        return Poll.resumed(self.state["latest"]) if "latest" in self.state else None

    def expect(self, known: Mapping[str, datetime]) -> None:
        """Records that the webhook told of: the answer has to contain them."""
        wanted = unreturned(self.window, known, ())
        self._awaited = {record_id: known[record_id] for record_id in wanted}
        self.state["awaited"] = {record_id: known[record_id].isoformat() for record_id in wanted}

    def select(self, items: Iterable[Listed]) -> list[Listed]:
        """Of a page, the records of the window; notes what was listed, and what no filter would list."""
        chosen = []
        for item in items:
            self._awaited.pop(item.record_id, None)
            self.state["awaited"].pop(item.record_id, None)
            time = item.version.modified_on
            if time is None or time in self.window:
                chosen.append(item)
            elif not self.window.start - 2 * WIDEN <= time <= self.window.end + 2 * WIDEN:
                self.state["outside"] += 1
        self.state["listed"] += len(chosen)
        return chosen

    def missed(self, record_ids: list[str]) -> None:
        """Records that were stored now: no webhook had brought them."""
        self.state["missed"] += len(record_ids)
        self.state["missed_ids"] = (self.state["missed_ids"] + record_ids)[:MAX_IDS]

    def suspects(self) -> list[str]:
        """The records that had to be listed and were not."""
        return sorted(self._awaited)

    def explained_by(self, present: Mapping[str, datetime | None]) -> bool:
        """Whether the suspects' present state explains that they were not listed."""
        return trusted(self.window, self.suspects(), present)

    def watermark(self, before: datetime | None, *, trusted: bool) -> datetime | None:
        """The watermark after this poll."""
        return advance(before, self.window, trusted=trusted)

    def report(self) -> dict[str, Any]:
        """What is stored and told of it. `may_lag`: the suspects are so young that the index may just lag."""
        suspects = self.suspects()
        young = self.window.end - OVERLAP
        latest = {"latest": self.latest.report()} if self.latest else {}
        return {
            "window": self.state["window"],
            "listed": self.state["listed"],
            "missed": self.state["missed"],
            "missed_ids": self.state["missed_ids"],
            "outside": self.state["outside"],
            "suspects": suspects[:MAX_IDS],
            "may_lag": bool(suspects) and all(time > young for time in self._awaited.values()),
            "short_pages": self.state.get("short_pages", 0),
            **latest,
        }
