"""Former owners, limits and recalls: what goes before the turns, and the bound of the ratios with them."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.domain.assign import Member, Rules, choose
from tests.support.builders import member

Roster = tuple[Member, ...]
LIMITS = st.sampled_from([None, None, "outside_shift", "daily_cap", "open_cap"])


def spread(roster: Roster) -> Fraction:
    """The largest difference of the ratios of those who were available at the last choice."""
    ratios = [m.ratio for m in roster if m.was_available]
    return max(ratios) - min(ratios) if ratios else Fraction()


@st.composite
def choices(draw: st.DrawFn, size: int) -> tuple[list[bool], list[str | None], Rules]:
    """Who is on duty, who is limited, and what goes before the turns."""
    staff = [f"s-{n}" for n in range(size)]
    had_it = draw(st.sets(st.sampled_from(staff), max_size=size))
    rules = Rules(
        former_owner=draw(st.sampled_from([None, "s-stranger", *staff])),
        not_again=frozenset(had_it) if draw(st.booleans()) else frozenset(),
        max_ahead=draw(st.integers(1, 5)),
    )
    duty = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return duty, draw(st.lists(LIMITS, min_size=size, max_size=size)), rules


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.data())
def test_the_ratios_stay_within_max_ahead_over_the_lowest_weight(
    weights: list[int], data: st.DataObject
) -> None:
    """With members who come, go, reach their cap; with former owners and recalls, in any order."""
    roster = tuple(member(n, weight=w, was_available=False) for n, w in enumerate(weights))
    highest = 1
    for _ in range(data.draw(st.integers(1, 40))):
        duty, limits, rules = data.draw(choices(len(weights)))
        roster = tuple(
            replace(m, on_duty=d, limited_by=limit) for m, d, limit in zip(roster, duty, limits, strict=True)
        )
        before = roster
        choice = choose(roster, rules)
        roster, highest = choice.roster, max(highest, rules.max_ahead)
        assert spread(roster) <= Fraction(highest, min(weights))
        assert all(after.assigned_count >= m.assigned_count for after, m in zip(roster, before, strict=True))
        if choice.chosen is None:
            assert choice.changed() == ()
        else:
            assert choice.chosen.unavailable_because is None
            assert choice.staff_id not in rules.not_again
            assert choice.chosen.staff_id not in dict(choice.skipped)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=5), st.lists(st.integers(0, 4), max_size=60))
def test_one_former_owner_gets_no_more_than_max_ahead(weights: list[int], returning: list[int]) -> None:
    """All returning customers are the first member's; the turns of the others make up for it."""
    roster = tuple(member(n, weight=w) for n, w in enumerate(weights))
    for each in returning:
        roster = choose(roster, Rules("s-0" if each else None, max_ahead=5)).roster
        assert spread(roster) <= Fraction(5, min(weights))
    for _ in range(5 * sum(weights)):
        roster = choose(roster).roster
    assert spread(roster) <= Fraction(1, min(weights))


def test_the_former_owner_goes_before_the_turn_and_is_counted() -> None:
    roster = (member(1), member(2, assigned_count=2))
    choice = choose(roster, Rules("s-2", max_ahead=5))
    assert choice.staff_id == "s-2"
    assert {m.staff_id: m.assigned_count for m in choice.roster} == {"s-1": 0, "s-2": 3}
    assert choice.evidence()["former_owner"] == {"staff_id": "s-2", "result": "chosen"}
    assert choose(choice.roster).staff_id == "s-1"


@pytest.mark.parametrize(
    ("changes", "former", "reason"),
    [
        ({"on_duty": False}, "s-2", "off_duty"),
        ({"is_active": False}, "s-2", "roster_row_inactive"),
        ({"staff_active": False}, "s-2", "staff_inactive"),
        ({"limited_by": "open_cap"}, "s-2", "open_cap"),
        ({"assigned_count": 5}, "s-2", "too_far_ahead"),
        ({}, "s-9", "not_in_roster"),
    ],
)
def test_a_former_owner_who_cannot_get_it_is_named_with_the_reason(
    changes: dict[str, object], former: str, reason: str
) -> None:
    choice = choose((member(1), member(2, **changes)), Rules(former, max_ahead=5))
    assert choice.staff_id == "s-1"
    assert choice.evidence()["former_owner"] == {"staff_id": former, "result": reason}


def test_without_a_former_owner_the_evidence_is_that_of_the_turns() -> None:
    roster = (member(1), member(2))
    assert choose(roster, Rules(max_ahead=5)) == choose(roster)
    assert "former_owner" not in choose(roster).evidence()


@pytest.mark.parametrize("limit", ["outside_shift", "daily_cap", "open_cap"])
def test_a_limited_member_is_skipped_with_the_limit_and_lifted_when_it_ends(limit: str) -> None:
    roster = (member(1, assigned_count=30), member(2, assigned_count=3, limited_by=limit))
    choice = choose(roster)
    assert (choice.staff_id, choice.skipped) == ("s-1", (("s-2", limit),))
    after = choose(tuple(replace(m, limited_by=None) for m in choice.roster))
    assert after.staff_id == "s-1" or after.roster[1].assigned_count >= 31


def test_off_duty_is_named_before_a_limit() -> None:
    assert member(1, on_duty=False, limited_by="daily_cap").unavailable_because == "off_duty"


def test_a_recalled_ticket_goes_to_somebody_who_did_not_have_it() -> None:
    roster = (member(1), member(2, assigned_count=1), member(3, assigned_count=2))
    choice = choose(roster, Rules(not_again=frozenset({"s-1", "s-2"}), max_ahead=5))
    assert choice.staff_id == "s-3"
    assert choice.skipped == (("s-1", "had_the_ticket"), ("s-2", "had_the_ticket"))
    assert choice.roster[0].was_available, "it is available: it is not lifted later"


def test_a_recalled_ticket_stays_if_all_others_are_too_far_ahead() -> None:
    roster = (member(1), member(2, assigned_count=5))
    choice = choose(roster, Rules(not_again=frozenset({"s-1"}), max_ahead=5))
    assert (choice.staff_id, choice.changed()) == (None, ())
    assert choice.skipped == (("s-1", "had_the_ticket"), ("s-2", "too_far_ahead"))
    assert choose(roster, Rules(not_again=frozenset({"s-1"}), max_ahead=6)).staff_id == "s-2"
