"""A poll of a connection: its window of time, what the list has to contain, what it contained.

Windows overlap, and end before the present.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypedDict

from leads.domain.listing import (
    SETTLE,
    ZONE_MARGIN,
    ListedLead,
    ListPosition,
    LookUps,
    SavedLookUp,
    TableRecord,
    Window,
)
from leads.domain.reports import ConnectionReport

OVERLAP = timedelta(minutes=10)
"""How far a window starts before the watermark: covers search lag, late commits and clock skew."""
MAX_STEP = timedelta(days=1)
"""How far one window advances the watermark at most: after an outage it catches up in steps."""
MAX_IDS_PER_REPORT = 1_000
"""How many ids a report lists of each kind."""


class PollReport(ConnectionReport, total=False):
    """One poll. `latest`: the poll of the newest window, if that was read too."""

    window: list[str]
    listed: int
    missed: int
    missed_ids: list[str]
    outside: int
    suspects: list[str]
    may_lag: bool
    short_pages: int
    latest: "PollReport"
    ending: str
    trusted: bool
    pages: int


class SavedPoll(TypedDict):
    """The JSON of a PollProgress."""

    window: list[str]
    position: dict[str, Any]
    """The fields of a ListPosition."""
    awaited_records: list[tuple[str | None, str, str]]
    """Table, id and `modified_on` of each record that the list still has to contain."""
    listed: int
    outside: int
    missed: int
    missed_ids: list[str]
    look_ups: list[SavedLookUp]
    latest: "SavedPoll | None"


@dataclass(slots=True)
class PollProgress:
    """An interrupted poll continues from what `save` returned.

    `awaited` maps the records that the list still has to contain to their `modified_on`; `look_ups` are those
    that it did not. `listed` counts the leads of the window, `outside` those that no filter should have
    returned. `latest` is the poll of the newest window, if that must be read too; it does not move the
    watermark.
    """

    window: Window
    position: ListPosition = field(default_factory=ListPosition)
    awaited: dict[TableRecord, datetime] = field(default_factory=dict)
    listed: int = 0
    outside: int = 0
    missed: int = 0
    missed_ids: list[str] = field(default_factory=list)
    look_ups: LookUps = field(default_factory=LookUps)
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
            position=ListPosition(**saved["position"]),
            awaited={
                TableRecord(table_name, record_id): datetime.fromisoformat(text)
                for table_name, record_id, text in saved["awaited_records"]
            },
            listed=saved["listed"],
            outside=saved["outside"],
            missed=saved["missed"],
            missed_ids=list(saved["missed_ids"]),
            look_ups=LookUps.load(saved["look_ups"]),
            latest=cls.load(latest) if latest else None,
        )

    def save(self) -> SavedPoll:
        return {
            "window": self._window_as_text(),
            "position": asdict(self.position),
            "awaited_records": [(*key, time.isoformat()) for key, time in self.awaited.items()],
            "listed": self.listed,
            "outside": self.outside,
            "missed": self.missed,
            "missed_ids": self.missed_ids,
            "look_ups": self.look_ups.save(),
            "latest": self.latest.save() if self.latest else None,
        }

    def expect(self, known: Mapping[TableRecord, datetime]) -> None:
        """Set what the list has to contain: the records that the webhook brought, with their newest time."""
        self.awaited = {key: time for key, time in known.items() if time in self.window}

    def select(self, leads: Iterable[ListedLead]) -> list[ListedLead]:
        return [lead for lead in leads if lead.modified_on is None or lead.modified_on in self.window]

    def enter(self, leads: Sequence[ListedLead], record_ids: Sequence[str]) -> None:
        """Count listed leads; those of `record_ids` are stored now: the webhook had not brought them."""
        for lead in leads:
            self.awaited.pop(lead.key, None)
            self.awaited.pop(TableRecord(None, lead.record_id), None)  # its webhook named no table
            time = lead.modified_on
            if time is None or time in self.window:
                self.listed += 1
            # The filter is wider than the window by one margin, and was perhaps read in another zone.
            elif not self.window.start - 2 * ZONE_MARGIN <= time <= self.window.end + 2 * ZONE_MARGIN:
                self.outside += 1
        self.missed += len(record_ids)
        self.missed_ids = [*self.missed_ids, *record_ids][:MAX_IDS_PER_REPORT]

    def has_explanation(self) -> bool:
        """Whether the present state of all awaited records explains that they were not listed.

        They were deleted, or changed since. One that still is in the window was left out by the list.
        """
        present = self.look_ups.present
        return not any(
            key in present and ((time := present[key]) is None or time in self.window) for key in self.awaited
        )

    def watermark_after(self, watermark: datetime | None, *, trusted: bool) -> datetime | None:
        """Return the window's end if the list is trusted, never an earlier time."""
        if not trusted:
            return watermark
        return self.window.end if watermark is None else max(watermark, self.window.end)

    def report(self) -> PollReport:
        """Return the report so far. `may_lag`: all missing records are so young that the index may lag."""
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


def next_window(watermark: datetime | None, now: datetime) -> Window:
    """Return the window after `watermark`; without one, the last MAX_STEP before now.

    It ends at `now - SETTLE` at the latest, and at most MAX_STEP after the watermark. If the clock was set
    back, the window is the last OVERLAP before that end, and the watermark stays (`watermark_after`).
    """
    settled = now - SETTLE
    since = settled - MAX_STEP if watermark is None else min(watermark, settled)
    return Window(since - OVERLAP, min(settled, since + MAX_STEP))


def latest_window(due: Window, now: datetime) -> Window | None:
    """Return the newest window, to be read too if the window that is due ends before it; at most MAX_STEP.

    Thus new records are not delayed while the watermark is far behind or kept back by an untrusted list.
    """
    settled = now - SETTLE
    if due.end >= settled:
        return None
    return Window(max(due.end, settled - MAX_STEP) - OVERLAP, settled)
