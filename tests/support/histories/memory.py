"""What the reference model remembers of a history, and the order of versions."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tests.support.histories.state import Applied, Expected, Fields, Record, RecordKey, Search, Version

FAR_FUTURE = timedelta(hours=48)


@dataclass(frozen=True)
class Notes:
    """What people typed before and after the block of a description.

    `has_block`: the block is in the description now. The next one follows what is typed.
    """

    before: str = ""
    after: str = ""
    has_block: bool = True

    @classmethod
    def without_block(cls, text: str) -> "Notes":
        return cls(f"{text}\n\n", has_block=False)

    def with_typed(self, before: str, after: str, whole: str) -> "Notes":
        if not self.has_block:
            return Notes.without_block(whole)
        return Notes(f"{before}{self.before}", f"{self.after}{after}")


@dataclass
class Memory:
    """What was applied of each record, and what people typed.

    `typed_titles` and `notes` are of tickets, `searches` an event to how it found its customer,
    `unassigned` a ticket that waits for an owner to the version that made it, `untold` are those of which no
    administrator could be told.
    """

    records: dict[RecordKey, Record] = field(default_factory=dict)
    typed_titles: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Notes] = field(default_factory=dict)
    searches: dict[int, Search] = field(default_factory=dict)
    unassigned: dict[str, Version] = field(default_factory=dict)
    untold: set[str] = field(default_factory=set)

    def remember(self, version: Version, result: Expected) -> None:
        """Remember the result of a version for its record."""
        if result.record is not None:
            self.records[version.record] = result.record
        if result.search is not None:
            self.searches[version.event] = result.search
        for key in {result.written, result.left} & self.notes.keys():
            self.notes[str(key)] = replace(self.notes[str(key)], has_block=True)
        ticket = result.state.tickets.get(str(result.written))
        if result.outcome == "ticket_created" and ticket is not None and ticket.owner is None:
            self.unassigned[str(result.written)] = version
            if not any(each.role == "admin" and each.active for each in result.state.staff.values()):
                self.untold.add(str(result.written))


def counting_time(version: Version) -> datetime | None:
    """Return the time that a version counts with; one far in the future counts as its arrival."""
    if version.modified_at is None:
        return None
    is_far = version.modified_at > version.arrived_at + FAR_FUTURE
    return version.arrived_at if is_far else version.modified_at


def merged(old: Fields, named: Fields) -> Fields:
    """Return the fields with a value: a field that is not named keeps it, an empty one loses it."""
    return {key: value for key, value in {**old, **named}.items() if value}


def is_stale(version: Version, applied: tuple[Applied, ...]) -> bool:
    """Versions are ordered by their times, those of equal or no time and all others by their arrival."""
    at = counting_time(version)
    times = [earlier.at for earlier in applied if earlier.at is not None]
    if at is not None and times and at < max(times):
        return True
    return any(
        version.arrived_at < earlier.arrived_at
        for earlier in applied
        if at is None or earlier.at is None or at == earlier.at
    )
