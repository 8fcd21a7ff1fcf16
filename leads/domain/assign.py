"""Round robin over a roster: exact, deterministic, weighted.

Among the available members the one with the lowest `assigned_count / weight` is next; ties go to the oldest
`last_assigned_seq`, then to the lowest id. A member that joins or returns (was not available at the last
choice) is lifted to the lowest ratio of the members that stayed: it does not get all tickets that it missed.
A choice without an available member changes no counter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil


@dataclass(frozen=True, slots=True)
class Member:
    """One row of a roster, joined with the staff member it names. Ids are uuids as text."""

    assignee_id: str
    staff_id: str
    is_active: bool
    staff_active: bool
    on_duty: bool
    weight: int
    assigned_count: int
    last_assigned_seq: int
    was_available: bool

    @property
    def unavailable_because(self) -> str | None:
        if not self.is_active:
            return "roster_row_inactive"
        if not self.staff_active:
            return "staff_inactive"
        return None if self.on_duty else "off_duty"


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen owner, and the roster's counters afterwards."""

    staff_id: str | None
    chosen: Member | None
    skipped: tuple[tuple[str, str], ...]
    """(staff id, reason) of members that are not available."""

    roster: tuple[Member, ...]
    """Every member as it is to be stored."""

    seen: tuple[Member, ...]
    """The roster as it was read."""

    compared: tuple[Member, ...]
    """The roster whose counters decided: members that returned are lifted, nothing is counted yet."""

    def evidence(self) -> dict[str, object]:
        """Return what the event's row records of the choice."""
        return {
            "roster": [
                _counters(before, member) for before, member in zip(self.seen, self.compared, strict=True)
            ],
            "skipped": [{"staff_id": staff_id, "reason": reason} for staff_id, reason in self.skipped],
            "chosen": self.staff_id,
        }

    def changed(self) -> tuple[Member, ...]:
        """Return the members whose counters differ from what was read."""
        return tuple(after for before, after in zip(self.seen, self.roster, strict=True) if after != before)


def choose(roster: Sequence[Member]) -> Choice:
    """Choose the next owner. Call it under the roster's lock; store `roster` in the same transaction."""
    skipped = tuple((m.staff_id, reason) for m in roster if (reason := m.unavailable_because))
    if len(skipped) == len(roster):
        return Choice(None, None, skipped, tuple(roster), tuple(roster), tuple(roster))
    members = tuple(_lifted(member, roster) for member in roster)
    available = [member for member in members if member.was_available]
    chosen = min(
        available, key=lambda m: (Fraction(m.assigned_count, m.weight), m.last_assigned_seq, m.assignee_id)
    )
    counted = replace(
        chosen,
        assigned_count=chosen.assigned_count + 1,
        last_assigned_seq=max(m.last_assigned_seq for m in roster) + 1,
    )
    after = tuple(counted if m is chosen else m for m in members)
    return Choice(chosen.staff_id, chosen, skipped, after, tuple(roster), members)


def _lifted(member: Member, roster: Sequence[Member]) -> Member:
    """Return the member with its present availability, lifted if it has just returned."""
    available = member.unavailable_because is None
    count = member.assigned_count
    if available and not member.was_available:
        were = [m for m in roster if m.was_available]
        stayed = [m for m in were if m.unavailable_because is None] or were
        if stayed:
            lowest = min(Fraction(m.assigned_count, m.weight) for m in stayed)
            count = max(count, ceil(member.weight * lowest))
    return replace(member, was_available=available, assigned_count=count)


def _counters(before: Member, compared: Member) -> dict[str, object]:
    """Return the counters by which a member was compared, and the count that it was lifted from."""
    shown: dict[str, object] = {
        "staff_id": compared.staff_id,
        "weight": compared.weight,
        "assigned_count": compared.assigned_count,
        "last_assigned_seq": compared.last_assigned_seq,
    }
    if compared.assigned_count != before.assigned_count:
        shown["lifted_from"] = before.assigned_count
    return shown
