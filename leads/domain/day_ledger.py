"""The ledger of one ICT day of one connection: the state of each record that Pancake lists.

A listed record is counted as processed, held, rejected or pending, by the events that cover it. The id of a
record that no event covers is entered as found missing if it could be inserted, else as left missing.
"""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NotRequired, TypedDict
from zlib import crc32

from leads.domain.body import ICT
from leads.domain.listing import (
    SETTLE,
    EventsByRecord,
    ListedLead,
    ListPosition,
    LookUps,
    SavedLookUp,
    TableRecord,
    Window,
    covering,
    record_state,
)
from leads.domain.reports import ConnectionReport

MAX_DAYS_BACK = 14
"""How many closed days before today are reconciled at most."""
SAMPLE_ONE_IN = 10
"""Of the day before, one record in this many is compared again."""


def days_owed(now: datetime, succeeded: Collection[date]) -> list[date]:
    """Return the closed ICT days without a succeeded reconciliation, oldest first."""
    today = _settled_day(now)
    days = (today - timedelta(days=back) for back in range(MAX_DAYS_BACK, 0, -1))
    return [day for day in days if day not in succeeded]


def is_over(day: date, now: datetime) -> bool:
    """Whether an ICT day is over, so that its ledger can be closed."""
    return day < _settled_day(now)


def _settled_day(now: datetime) -> date:
    """Return the present ICT day; the day before lasts until its last versions have settled."""
    return (now - SETTLE).astimezone(ICT).date()


def day_window(day: date) -> Window:
    """Return the window of a whole ICT day."""
    start = datetime.combine(day, time(), ICT).astimezone(UTC)
    return Window(start, start + timedelta(days=1) - timedelta(microseconds=1))


class DayReport(ConnectionReport, total=False):
    """One ICT day: the entries of its ledger, then what was compared when the list was read to its end."""

    processed: int
    held: int
    pending: int
    found: int
    sampled: int
    found_missing: list[str]
    left_missing: list[str]
    duplicates: list[str]
    rejected: list[list[str]]
    sample_missing: list[str]
    seconds: float
    day: str
    expected: int
    inserted: int
    superseded: int
    unexpected: list[str]
    unlisted: list[str]
    not_looked_up: int
    pages: int
    short_pages: int
    ending: str
    first_seen: dict[str, int]
    webhook_loss: float


class Comparison(TypedDict):
    """The stored events of a day, compared with its list."""

    superseded: int
    unlisted: list[tuple[str | None, str]]
    """The TableRecords that were not listed and are looked up; there are `not_looked_up` more."""
    not_looked_up: int


class SavedLedger(TypedDict):
    """The JSON of a DayLedger."""

    position: dict[str, Any]
    """The fields of a ListPosition."""
    seen_records: dict[str, list[str]]
    """The ids that were listed and are not in `found_records`, by table."""
    found_records: dict[str, list[str]]
    entries: DayReport
    comparison: NotRequired[Comparison | None]
    look_ups: list[SavedLookUp]


@dataclass(frozen=True, slots=True)
class Selection:
    """What of some listed leads is to be entered: each record once, and the ids that were listed before."""

    leads: list[ListedLead]
    duplicates: list[str]


def no_entries() -> DayReport:
    return {
        "processed": 0,
        "held": 0,
        "pending": 0,
        "found": 0,
        "sampled": 0,
        "found_missing": [],
        "left_missing": [],
        "duplicates": [],
        "rejected": [],
        "sample_missing": [],
        "seconds": 0.0,
    }


@dataclass(slots=True)
class DayLedger:
    """An interrupted day continues from what `save` returned.

    `seen` holds the ids that the list of each table showed, `found` those of them that had to be stored: on a
    day without any webhook these are all, so `save` writes each id once. `look_ups`: what it did not show.
    """

    day: date
    position: ListPosition = field(default_factory=ListPosition)
    seen: dict[str, set[str]] = field(default_factory=dict)
    found: dict[str, list[str]] = field(default_factory=dict)
    entries: DayReport = field(default_factory=no_entries)
    look_ups: LookUps = field(default_factory=LookUps)
    comparison: Comparison | None = None

    @classmethod
    def load(cls, day: date, saved: SavedLedger) -> "DayLedger":
        found = saved["found_records"]
        seen = {name: {*ids, *found.get(name, ())} for name, ids in saved["seen_records"].items()}
        position, look_ups = ListPosition(**saved["position"]), LookUps.load(saved["look_ups"])
        return cls(day, position, seen, found, saved["entries"], look_ups, saved.get("comparison"))

    def save(self) -> SavedLedger:
        seen = {name: sorted(ids.difference(self.found.get(name, ()))) for name, ids in self.seen.items()}
        return {
            "position": asdict(self.position),
            "seen_records": seen,
            "found_records": self.found,
            "entries": self.entries,
            "look_ups": self.look_ups.save(),
            "comparison": self.comparison,
        }

    @property
    def window(self) -> Window:
        return day_window(self.day)

    def select(self, leads: Iterable[ListedLead]) -> Selection:
        """Select the leads of the day, each record once, and a sample of those of the day before.

        It changes nothing: what is not entered because the run is cut off is selected again.
        """
        day = self.window
        day_before = Window(day.start - timedelta(days=1), day.start)
        selected, new, duplicates = [], set[TableRecord](), []
        for lead in leads:
            time = lead.modified_on
            if self._is_of_day(lead):
                if lead.key in new or lead.record_id in self.seen.get(lead.table_name, ()):
                    duplicates.append(lead.record_id)
                else:
                    new.add(lead.key)
                    selected.append(lead)
            elif time is not None and time in day_before and _is_sampled(lead.record_id):
                selected.append(lead)
        return Selection(selected, duplicates)

    def enter(self, selection: Selection, events: EventsByRecord, added: Collection[TableRecord]) -> None:
        """Enter what was selected. `added`: the records stored now because no event covered them."""
        self.entries["duplicates"] += selection.duplicates
        self.comparison = None
        for lead in selection.leads:
            covered_by = covering(lead, events)
            is_added = lead.key in added
            if not self._is_of_day(lead):
                self.entries["sampled"] += 1
                if is_added or not covered_by:
                    self.entries["sample_missing"].append(lead.record_id)
                continue
            self.seen.setdefault(lead.table_name, set()).add(lead.record_id)
            if is_added:
                self.found.setdefault(lead.table_name, []).append(lead.record_id)
            elif not covered_by:
                self.entries["left_missing"].append(lead.record_id)
            else:
                self.entries["found"] += 1
                match record_state(covered_by):
                    case "rejected":
                        self.entries["rejected"].append(
                            [lead.record_id, covered_by[-1].error_code or "unknown"]
                        )
                    case "processed" | "held" | "pending" as state:
                        self.entries[state] += 1

    def add_seconds(self, seconds: float) -> None:
        """Add to the time that reading the list took."""
        self.entries["seconds"] = round(self.entries["seconds"] + seconds, 1)

    def restart(self) -> "DayLedger":
        """Return a ledger to read the day again; it keeps what was added in the attempt that failed."""
        entries = no_entries()
        entries["found_missing"] = self._found_missing()
        entries["sample_missing"] = self.entries["sample_missing"]
        return DayLedger(self.day, entries=entries)

    def report(self, comparison: Comparison) -> DayReport:
        """Return the report of a day whose list was read to its end; what it did not show was looked up."""
        day, present = self.window, self.look_ups.present
        looked_up = [TableRecord(*key) for key in comparison["unlisted"]]
        found_missing = self._found_missing()
        compared: DayReport = {
            "day": self.day.isoformat(),
            "expected": sum(map(len, self.seen.values())),
            "inserted": len(found_missing) + len(self.entries["sample_missing"]),
            "superseded": comparison["superseded"],
            "unexpected": [key.record_id for key in looked_up if key not in present],
            "unlisted": [
                key.record_id for key in looked_up if (time := present.get(key)) is not None and time in day
            ],
            "not_looked_up": comparison["not_looked_up"],
            "pages": self.position.pages,
            "short_pages": self.position.short_pages,
        }
        return {**compared, **self.entries, "found_missing": found_missing}

    def _found_missing(self) -> list[str]:
        """Return the ids of an attempt that failed, then those of this one."""
        return [*self.entries["found_missing"], *(id_ for ids in self.found.values() for id_ in ids)]

    def _is_of_day(self, lead: ListedLead) -> bool:
        return lead.modified_on is None or lead.modified_on in self.window


def _is_sampled(record_id: str) -> bool:
    # By checksum instead of at random: a day that is read again has the same sample.
    return crc32(record_id.encode()) % SAMPLE_ONE_IN == 0
