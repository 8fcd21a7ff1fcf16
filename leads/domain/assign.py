"""Round robin over a roster: exact, deterministic, weighted.

Among the available members the one with the lowest `assigned_count / weight` is next; ties go to the oldest
`last_assigned_seq`, then to the lowest id. A member that joins or returns (was not available at the last
choice) is lifted to the lowest ratio of the members that stayed: it does not get all tickets that it missed.
A choice without an available member changes no counter.

`Rules` are exceptions: a returning customer's former owner is preferred, and those who had a recalled ticket
do not get it again. Such a choice is counted like every other, and no member gets over `max_ahead` tickets
above the lowest ratio. So the ratios of available members differ by at most `max_ahead` over the lowest
weight, and by at most 1 over it where only turns decide.

Tickets that waited for an owner are shared with members who are not there yet, but expected: the share of
each is kept for a while, counts as if it were given, and its member is not lifted on arrival.
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
    limited_by: str | None = None
    """outside_shift, daily_cap or open_cap: why the member gets no ticket now."""
    holds_share: bool = False
    """Whether a share of the waiting tickets is kept for the member."""
    is_expected: bool = False
    """Whether one may be kept: the working day begins about now. Loaded for waiting tickets only."""
    share: int = 0
    """How many waiting tickets are kept for the member."""

    @property
    def unavailable_because(self) -> str | None:
        if not self.is_active:
            return "roster_row_inactive"
        if not self.staff_active:
            return "staff_inactive"
        return self.limited_by if self.on_duty else "off_duty"

    @property
    def is_awaited(self) -> bool:
        """Whether the member is not there, and is to get a share of the waiting tickets."""
        return self.is_expected and self.unavailable_because in ("off_duty", "outside_shift")

    @property
    def ratio(self) -> Fraction:
        return Fraction(self.assigned_count + self.share, self.weight)


@dataclass(frozen=True, slots=True)
class Rules:
    """Exceptions to the turns; the default is none. Ids are staff ids.

    `former_owner` is preferred; `not_again` had the ticket before and do not get it. With either, a member
    may get at most `max_ahead` tickets (1 or more) above what the lowest ratio is for its weight.
    """

    former_owner: str | None = None
    not_again: frozenset[str] = frozenset()
    max_ahead: int = 1


TURNS = Rules()
CHOSEN = "chosen"
NOT_IN_ROSTER = "not_in_roster"
TOO_FAR_AHEAD = "too_far_ahead"
HAD_IT = "had_the_ticket"


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen owner, and the roster: as it is to be stored, as it was read (`seen`), as it was `compared`.

    In `compared` members that returned are lifted, and nothing is counted yet. `skipped` has staff id and
    reason of each member that is not available. `former_owner` has the staff id, and `chosen` or why not; it
    is None unless the customer had an owner before. `kept_for` is the awaited member whose turn it is: then
    no owner is chosen.
    """

    staff_id: str | None
    chosen: Member | None
    skipped: tuple[tuple[str, str], ...]
    roster: tuple[Member, ...]
    seen: tuple[Member, ...]
    compared: tuple[Member, ...]
    former_owner: tuple[str, str] | None = None
    kept_for: Member | None = None

    def evidence(self) -> dict[str, object]:
        """Return what the event's row records of the choice."""
        shown: dict[str, object] = {
            "roster": [
                _counters(before, member) for before, member in zip(self.seen, self.compared, strict=True)
            ],
            "skipped": [{"staff_id": staff_id, "reason": reason} for staff_id, reason in self.skipped],
            "chosen": self.staff_id,
        }
        if self.former_owner:
            staff_id, result = self.former_owner
            shown["former_owner"] = {"staff_id": staff_id, "result": result}
        return shown

    def changed(self) -> tuple[Member, ...]:
        """Return the members whose counters differ from what was read."""
        return tuple(after for before, after in zip(self.seen, self.roster, strict=True) if after != before)


def choose(roster: Sequence[Member], rules: Rules = TURNS) -> Choice:
    """Choose the next owner. Call it under the roster's lock; store `roster` in the same transaction."""
    members = tuple(_lifted(member, roster) for member in roster)
    available = [member for member in members if member.unavailable_because is None]
    awaited = [member for member in members if member.is_awaited]
    barred = _barred(available, rules)
    skipped = tuple(
        (m.staff_id, reason)
        for m in members
        if (reason := m.unavailable_because or barred.get(m.staff_id)) is not None
    )
    former = _former_owner(members, available, rules)
    candidates = [member for member in available if member.staff_id not in barred]
    if not candidates:
        return Choice(None, None, skipped, tuple(roster), tuple(roster), tuple(roster), former)
    chosen = min(candidates, key=lambda m: (m.ratio, m.last_assigned_seq, m.assignee_id))
    if former and former[1] == CHOSEN:
        chosen = next(member for member in candidates if member.staff_id == former[0])
    elif awaited and min(m.ratio for m in awaited) < chosen.ratio:
        kept_for = min(awaited, key=lambda m: (m.ratio, m.last_assigned_seq, m.assignee_id))
        return Choice(None, None, skipped, members, tuple(roster), members, former, kept_for)
    counted = replace(
        chosen,
        assigned_count=chosen.assigned_count + 1,
        last_assigned_seq=max(m.last_assigned_seq for m in roster) + 1,
    )
    after = tuple(counted if m is chosen else m for m in members)
    return Choice(chosen.staff_id, chosen, skipped, after, tuple(roster), members, former)


def _barred(available: Sequence[Member], rules: Rules) -> dict[str, str]:
    """Return why available members may not get a recalled ticket; any other ticket bars none."""
    if not rules.not_again:
        return {}
    lowest = min((member.ratio for member in available), default=Fraction())
    barred = {m.staff_id: TOO_FAR_AHEAD for m in available if _is_too_far_ahead(m, lowest, rules)}
    return barred | {m.staff_id: HAD_IT for m in available if m.staff_id in rules.not_again}


def _former_owner(
    members: Sequence[Member], available: Sequence[Member], rules: Rules
) -> tuple[str, str] | None:
    """Return the former owner, with `chosen` or with the reason why the turns decide."""
    staff_id = rules.former_owner
    if staff_id is None or rules.not_again:
        return None
    member = next((each for each in members if each.staff_id == staff_id), None)
    if member is None:
        return staff_id, NOT_IN_ROSTER
    if reason := member.unavailable_because:
        return staff_id, reason
    lowest = min(each.ratio for each in available)
    return staff_id, TOO_FAR_AHEAD if _is_too_far_ahead(member, lowest, rules) else CHOSEN


def _is_too_far_ahead(member: Member, lowest: Fraction, rules: Rules) -> bool:
    """Whether one more ticket is more than `max_ahead` above what the lowest ratio is for the weight."""
    return member.assigned_count + 1 - member.weight * lowest > rules.max_ahead


def _lifted(member: Member, roster: Sequence[Member]) -> Member:
    """Return the member with its present availability, lifted if it has just returned, or is awaited."""
    available = member.unavailable_because is None or member.is_awaited
    count = member.assigned_count
    if available and not member.was_available:
        were = [m for m in roster if m.was_available]
        stayed = [m for m in were if m.unavailable_because is None] or were
        if stayed:
            lowest = min(m.ratio for m in stayed)
            count = max(count, ceil(member.weight * lowest))
    return replace(member, was_available=available or member.holds_share, assigned_count=count)


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
