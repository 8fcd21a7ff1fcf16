"""The progress of one poll of a connection: its window, what the list has to contain, what it contained."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypedDict

from leads.domain.listing import ListedLead, ListPosition, SavedPosition
from leads.domain.reports import PollReport
from leads.domain.table_record import TableRecord
from leads.domain.window import (
    OVERLAP,
    ZONE_MARGIN,
    Window,
    advance,
    has_explanation,
    latest_window,
    next_window,
    unreturned,
)

MAX_IDS_PER_REPORT = 1_000
"""How many ids a report lists of each kind."""


SavedRecord = tuple[str | None, str, str]
"""Table, id and `modified_on` of a record that the list still has to contain; a list in JSON."""


class SavedPoll(TypedDict, total=False):
    """The JSON of a PollProgress; of a complete poll its `report` only."""

    report: PollReport
    window: list[str]
    position: SavedPosition
    awaited_records: list[SavedRecord]
    listed: int
    outside: int
    missed: int
    missed_ids: list[str]
    latest: "SavedPoll | None"


@dataclass(slots=True)
class PollProgress:
    """An interrupted poll continues from what `save` returned.

    `awaited` maps the records that the list still has to contain to their `modified_on`. `listed` counts the
    leads of the window, `outside` those that no filter should have returned. `latest` is the poll of the
    newest window, if that must be read too; it does not move the watermark.
    """

    window: Window
    position: ListPosition = field(default_factory=ListPosition)
    awaited: dict[TableRecord, datetime] = field(default_factory=dict)
    listed: int = 0
    outside: int = 0
    missed: int = 0
    missed_ids: list[str] = field(default_factory=list)
    latest: "PollProgress | None" = None

    @classmethod
    def start(cls, watermark: datetime | None, now: datetime) -> "PollProgress":
        """Begin the poll of the window after `watermark`."""
        window = next_window(watermark, now)
        latest = latest_window(window, now)
        return cls(window, latest=cls(latest) if latest else None)

    @classmethod
    def load(cls, saved: SavedPoll) -> "PollProgress":
        start, end = (datetime.fromisoformat(text) for text in saved["window"])
        latest = saved["latest"]
        return cls(
            window=Window(start, end),
            position=ListPosition.load(saved["position"]),
            awaited={
                TableRecord(table_name, record_id): datetime.fromisoformat(text)
                for table_name, record_id, text in saved["awaited_records"]
            },
            listed=saved["listed"],
            outside=saved["outside"],
            missed=saved["missed"],
            missed_ids=list(saved["missed_ids"]),
            latest=cls.load(latest) if latest else None,
        )

    def save(self) -> SavedPoll:
        return {
            "window": self._window_as_text(),
            "position": self.position.save(),
            "awaited_records": [(*key, time.isoformat()) for key, time in self.awaited.items()],
            "listed": self.listed,
            "outside": self.outside,
            "missed": self.missed,
            "missed_ids": self.missed_ids,
            "latest": self.latest.save() if self.latest else None,
        }

    def expect(self, known: Mapping[TableRecord, datetime]) -> None:
        """Set what the list has to contain: the records that the webhook brought, with their newest time."""
        self.awaited = {key: known[key] for key in unreturned(self.window, known, ())}

    def select(self, leads: Iterable[ListedLead]) -> list[ListedLead]:
        """Return the leads of the window, and count what was listed."""
        selected = []
        for lead in leads:
            self.awaited.pop(lead.key, None)
            self.awaited.pop(TableRecord(None, lead.record_id), None)  # its webhook named no table
            time = lead.modified_on
            if time is None or time in self.window:
                selected.append(lead)
            # The filter is wider than the window by one margin, and was perhaps read in another zone.
            elif not self.window.start - 2 * ZONE_MARGIN <= time <= self.window.end + 2 * ZONE_MARGIN:
                self.outside += 1
        self.listed += len(selected)
        return selected

    def add_missed(self, record_ids: Sequence[str]) -> None:
        """Count records that were stored now because the webhook had not brought them."""
        self.missed += len(record_ids)
        self.missed_ids = [*self.missed_ids, *record_ids][:MAX_IDS_PER_REPORT]

    def suspects(self) -> list[TableRecord]:
        """Return the records that had to be listed and were not."""
        return list(self.awaited)

    def has_explanation(self, present: Mapping[TableRecord, datetime | None]) -> bool:
        """Whether the suspects' present state explains that they were not listed."""
        return has_explanation(self.window, self.awaited, present)

    def watermark_after(self, watermark: datetime | None, *, trusted: bool) -> datetime | None:
        return advance(watermark, self.window, trusted=trusted)

    def report(self) -> PollReport:
        """Return the report so far. `may_lag`: all suspects are so young that the index may just lag."""
        lag_limit = self.window.end - OVERLAP
        report: PollReport = {
            "window": self._window_as_text(),
            "listed": self.listed,
            "missed": self.missed,
            "missed_ids": self.missed_ids,
            "outside": self.outside,
            "suspects": sorted(key.record_id for key in self.awaited)[:MAX_IDS_PER_REPORT],
            "may_lag": bool(self.awaited) and all(time > lag_limit for time in self.awaited.values()),
            "short_pages": self.position.short_pages,
        }
        if self.latest:
            report["latest"] = self.latest.report()
        return report

    def _window_as_text(self) -> list[str]:
        return [self.window.start.isoformat(), self.window.end.isoformat()]
