"""What the reference model remembers of a history, and the order of versions."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.support.histories.state import Applied, Fields, Record, RecordKey, Version

FAR_FUTURE = timedelta(hours=48)


@dataclass
class Memory:
    """What was applied of each record, and what people typed.

    `deletions` are those of records of which nothing else was applied, in order. `typed` maps a ticket and a
    column to the text, `former_phones` an account to the numbers that it had.
    """

    records: dict[RecordKey, Record] = field(default_factory=dict)
    deletions: dict[RecordKey, tuple[Version, ...]] = field(default_factory=dict)
    typed: dict[tuple[str, str], str] = field(default_factory=dict)
    former_phones: dict[str, set[str]] = field(default_factory=dict)

    def remember(self, version: Version, record: Record | None, *, is_deletion: bool) -> None:
        """Remember the result of a version for its record."""
        if record is not None:
            self.records[version.record] = record
        elif is_deletion:
            self.deletions[version.record] = (*self.deletions.get(version.record, ()), version)


def counting_time(version: Version) -> datetime | None:
    """Return the time that a version counts with; one far in the future counts as its arrival."""
    if version.modified_at is None:
        return None
    is_far = version.modified_at > version.arrived_at + FAR_FUTURE
    return version.arrived_at if is_far else version.modified_at


def merged(old: Fields, named: Fields) -> Fields:
    """Return the fields with a value: one that is not named keeps it, one that is named empty loses it."""
    return {key: value for key, value in {**old, **named}.items() if value}


def staleness(version: Version, applied: tuple[Applied, ...]) -> set[bool]:
    """Return what the check may answer: both if the rules for equal and for missing times contradict."""
    at = counting_time(version)
    times = [earlier.at for earlier in applied if earlier.at is not None]
    if at is not None and times and at < max(times):
        return {True}
    others = [earlier for earlier in applied if earlier.event != version.event]
    by_arrival = [earlier for earlier in others if at is None or earlier.at is None or at == earlier.at]
    return {version.arrived_at < earlier.arrived_at for earlier in by_arrival} or {False}
