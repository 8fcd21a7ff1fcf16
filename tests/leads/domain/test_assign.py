"""Round robin and what goes before it: former owners, limits, recalls; exact, deterministic, weighted."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import compress
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.domain.assign import Member, Rules, choose
from tests.support.builders import member

Roster = tuple[Member, ...]
weights = st.lists(st.integers(1, 5), min_size=1, max_size=6)


def ratio(m: Member) -> Fraction:
    return Fraction(m.assigned_count, m.weight)


def run(roster: Roster, times: int) -> tuple[Roster, Counter[str]]:
    """Make `times` choices, each stored before the next; return the roster and the choices per member."""
    counts: Counter[str] = Counter()
    for _ in range(times):
        choice = choose(roster)
        roster = choice.roster
        counts[choice.staff_id or "none"] += 1
    return roster, counts


def spread(members: Iterable[Member]) -> Fraction:
    """The largest difference of the ratios."""
    ratios = [ratio(m) for m in members]
    return max(ratios) - min(ratios) if ratios else Fraction()


@given(weights)
def test_the_ratios_stay_within_one_over_the_smallest_weight_and_a_round_gives_each_its_weight(
    given_weights: list[int],
) -> None:
    roster, counts = tuple(member(n, weight=w) for n, w in enumerate(given_weights)), Counter[str]()
    for choices in range(1, 3 * sum(given_weights) + 1):
        roster, chosen = run(roster, 1)
        counts += chosen
        assert spread(roster) <= Fraction(1, min(given_weights))
        if choices % sum(given_weights) == 0:
            rounds = choices // sum(given_weights)
            assert counts == {f"s-{n}": rounds * w for n, w in enumerate(given_weights)}


def test_a_returning_member_is_compared_with_those_available_at_the_last_choice() -> None:
    """After a night in which all were off duty, one who was away for a month returns alone or with all."""
    day = (member(1, assigned_count=100), member(2, assigned_count=100), member(3, was_available=False))
    night = choose(tuple(replace(m, on_duty=False) for m in day)).roster
    assert [m.was_available for m in night] == [True, True, False], "none of them is a returning member"
    morning = choose(tuple(replace(m, on_duty=m.staff_id == "s-3") for m in day)).roster
    for roster, times, shares in ((night, 6, (2, 2, 2)), (morning, 5, (2, 2, 1))):
        _, counts = run(tuple(replace(m, on_duty=True) for m in roster), times)
        assert tuple(counts[f"s-{n}"] for n in (1, 2, 3)) == shares
    roster, counts = run(tuple(member(n, was_available=False) for n in range(3)), 3)
    assert counts == {"s-0": 1, "s-1": 1, "s-2": 1}, "no member of a new roster is lifted"
    assert all(m.was_available for m in roster)


def test_ties_go_to_the_longest_waiting_member_then_by_id_whatever_the_order_of_the_rows() -> None:
    roster = (member(3, last_assigned_seq=7), member(2, last_assigned_seq=4), member(1, last_assigned_seq=7))
    assert choose(roster).staff_id == "s-2"
    assert choose(roster).changed()[0].last_assigned_seq == 8, "after all others"
    assert choose((member(2), member(1))).staff_id == choose((member(1), member(2))).staff_id == "s-1"
    many = tuple(member(n, assigned_count=n % 3, last_assigned_seq=n) for n in range(6))
    assert choose(many).staff_id == choose(many[::-1]).staff_id


def test_an_empty_roster_gives_no_member_and_only_members_that_changed_are_stored() -> None:
    choice = choose(())
    assert (choice.staff_id, choice.chosen, choice.roster, choice.changed()) == (None, None, (), ())
    (changed,) = choose((member(1), member(2), member(3))).changed()
    assert (changed.staff_id, changed.assigned_count) == ("s-1", 1)


@given(st.integers(0, 1000), st.integers(1, 10), st.integers(1, 10), st.integers(0, 2000))
def test_the_lift_rounds_up_to_whole_tickets_and_never_lowers(
    count: int, weight: int, own: int, before: int
) -> None:
    back = member(2, weight=own, assigned_count=before, was_available=False)
    after = choose((member(1, assigned_count=count, weight=weight), back)).roster[1].assigned_count
    assert after - max(before, ceil(own * Fraction(count, weight))) in {0, 1}


def test_the_evidence_shows_the_counts_that_decided_and_who_was_lifted_from_what() -> None:
    roster = (
        member(1, assigned_count=100, last_assigned_seq=9),
        member(2, assigned_count=99, last_assigned_seq=8),
        member(3, assigned_count=3, weight=2, last_assigned_seq=2, was_available=False),
        member(4, assigned_count=7, on_duty=False),
    )
    choice = choose(roster)
    assert choice.staff_id == "s-3", "equal ratios after the lift: it waited longest"
    assert choice.evidence()["roster"] == [
        {"staff_id": "s-1", "weight": 1, "assigned_count": 100, "last_assigned_seq": 9},
        {"staff_id": "s-2", "weight": 1, "assigned_count": 99, "last_assigned_seq": 8},
        {"staff_id": "s-3", "weight": 2, "assigned_count": 198, "last_assigned_seq": 2, "lifted_from": 3},
        {"staff_id": "s-4", "weight": 1, "assigned_count": 7, "last_assigned_seq": 0},
    ]


@given(weights, st.data())
def test_the_counts_in_the_evidence_explain_every_choice(
    given_weights: list[int], data: st.DataObject
) -> None:
    flags = st.lists(st.booleans(), min_size=len(given_weights), max_size=len(given_weights))
    was, duty = data.draw(flags), data.draw(flags)
    counts = data.draw(st.lists(st.integers(0, 50), min_size=len(was), max_size=len(was)))
    roster = tuple(
        member(n, weight=w, was_available=was[n], on_duty=duty[n], assigned_count=counts[n])
        for n, w in enumerate(given_weights)
    )
    evidence = choose(roster).evidence()
    shown = {str(entry["staff_id"]): entry for entry in evidence["roster"]}  # type: ignore[attr-defined]
    away = {str(entry["staff_id"]) for entry in evidence["skipped"]}  # type: ignore[attr-defined]
    ratios = {
        staff_id: Fraction(entry["assigned_count"], entry["weight"])
        for staff_id, entry in shown.items()
        if staff_id not in away
    }
    assert evidence["chosen"] == (min(ratios, key=lambda s: (ratios[s], s)) if ratios else None)


LIMITS = (None, None, "outside_shift", "daily_cap", "open_cap")


@st.composite
def choices(draw: st.DrawFn, size: int) -> tuple[list[bool], list[str | None], Rules]:
    """Who is on duty, who is limited, and what goes before the turns.

    One number for all members: a draw for each takes ten times as long as the choice itself.
    """

    def each(kinds: int) -> list[int]:
        number = draw(st.integers(0, kinds**size - 1))
        return [number // kinds**n % kinds for n in range(size)]

    duty, limits, had_it = each(2), each(len(LIMITS)), each(2)
    staff = [f"s-{n}" for n in range(size)]
    rules = Rules(
        former_owner=draw(st.sampled_from([None, "s-stranger", *staff])),
        not_again=frozenset(compress(staff, had_it)) if draw(st.booleans()) else frozenset(),
        max_ahead=draw(st.integers(1, 5)),
    )
    return list(map(bool, duty)), [LIMITS[n] for n in limits], rules


@given(weights, st.data())
def test_the_ratios_stay_within_max_ahead_over_the_lowest_weight(
    given_weights: list[int], data: st.DataObject
) -> None:
    """With members who come, go, reach their cap; with former owners and recalls, in any order.

    A long absence does not entitle to the missed tickets. Turns alone bring back the bound.
    """
    roster = tuple(member(n, weight=w, was_available=False) for n, w in enumerate(given_weights))
    highest = 1
    for _ in range(data.draw(st.integers(1, 40))):
        duty, limits, rules = data.draw(choices(len(given_weights)))
        roster = tuple(
            replace(m, on_duty=d, limited_by=limit) for m, d, limit in zip(roster, duty, limits, strict=True)
        )
        before = roster
        choice = choose(roster, rules)
        roster, highest = choice.roster, max(highest, rules.max_ahead)
        assert spread(m for m in roster if m.was_available) <= Fraction(highest, min(given_weights))
        stayed = [ratio(m) for m in before if m.was_available and m.unavailable_because is None]
        for after, m in zip(roster, before, strict=True):
            assert after.assigned_count >= m.assigned_count
            if choice.chosen and stayed and m.unavailable_because is None and not m.was_available:
                assert ratio(after) >= min(stayed)
        if choice.chosen is None:
            assert choice.changed() == ()
        else:
            assert choice.chosen.unavailable_because is None
            assert choice.staff_id not in rules.not_again
            assert choice.chosen.staff_id not in dict(choice.skipped)
    fair = tuple(replace(m, on_duty=True, limited_by=None) for m in roster)
    fair, _ = run(fair, 3 * sum(given_weights) + int(sum(spread(fair) * w for w in given_weights)) + 1)
    assert spread(fair) <= Fraction(1, min(given_weights))


def test_the_former_owner_goes_before_the_turn_and_is_counted() -> None:
    roster = (member(1), member(2, assigned_count=2))
    choice = choose(roster, Rules("s-2", max_ahead=5))
    assert choice.staff_id == "s-2"
    assert {m.staff_id: m.assigned_count for m in choice.roster} == {"s-1": 0, "s-2": 3}
    assert choice.evidence()["former_owner"] == {"staff_id": "s-2", "result": "chosen"}
    assert choose(choice.roster).staff_id == "s-1"
    assert choose(roster, Rules(max_ahead=5)) == choose(roster)
    assert "former_owner" not in choose(roster).evidence()
    ahead = (member(1, assigned_count=3), member(2, weight=2, assigned_count=10))
    assert choose(ahead, Rules("s-2", max_ahead=5)).staff_id == "s-2", "3 tickets at weight 1 are 6 at 2"


def test_a_former_owner_who_cannot_get_it_is_named_with_the_reason(subtests: pytest.Subtests) -> None:
    changes: dict[str, dict[str, object]] = {
        "off_duty": {"on_duty": False}, "roster_row_inactive": {"is_active": False},
        "staff_inactive": {"staff_active": False}, "open_cap": {"limited_by": "open_cap"},
        "too_far_ahead": {"assigned_count": 5}, "not_in_roster": {"staff_id": "s-9"},
    }  # fmt: skip
    for reason, change in changes.items():
        with subtests.test(reason=reason, change=change):
            choice = choose((member(1), member(2, **change)), Rules("s-2", max_ahead=5))
            assert choice.staff_id == "s-1"
            assert choice.evidence()["former_owner"] == {"staff_id": "s-2", "result": reason}


def test_a_limited_member_is_skipped_with_the_limit_and_lifted_when_it_ends() -> None:
    limit = "daily_cap"
    roster = (member(1, assigned_count=30), member(2, assigned_count=3, limited_by=limit))
    choice = choose(roster)
    assert (choice.staff_id, choice.skipped) == ("s-1", (("s-2", limit),))
    assert choice.evidence()["skipped"] == [{"staff_id": "s-2", "reason": limit}]
    after = choose(tuple(replace(m, limited_by=None) for m in choice.roster))
    assert after.staff_id == "s-1" or after.roster[1].assigned_count >= 31
    assert member(1, on_duty=False, limited_by=limit).unavailable_because == "off_duty"


def test_a_recalled_ticket_goes_to_a_member_who_did_not_have_it_else_it_stays() -> None:
    roster = (member(1), member(2, assigned_count=1), member(3, assigned_count=2))
    choice = choose(roster, Rules(not_again=frozenset({"s-1", "s-2"}), max_ahead=5))
    assert choice.staff_id == "s-3"
    assert choice.skipped == (("s-1", "had_the_ticket"), ("s-2", "had_the_ticket"))
    assert choice.roster[0].was_available, "it is available: it is not lifted later"
    pair = (member(1), member(2, assigned_count=5))
    choice = choose(pair, Rules(not_again=frozenset({"s-1"}), max_ahead=5))
    assert (choice.staff_id, choice.changed()) == (None, ())
    assert choice.skipped == (("s-1", "had_the_ticket"), ("s-2", "too_far_ahead"))
    assert choose(pair, Rules(not_again=frozenset({"s-1"}), max_ahead=6)).staff_id == "s-2"


@given(weights, st.integers(1, 60))
def test_waiting_tickets_are_shared_as_if_those_who_are_expected_were_there(
    given_weights: list[int], tickets: int
) -> None:
    """The first member is there. Nobody is lifted when all have come, and the rest goes to them."""
    roster: Roster = tuple(
        member(n, weight=w, on_duty=not n, is_expected=bool(n)) for n, w in enumerate(given_weights)
    )
    kept: Counter[str] = Counter()
    for _ in range(tickets):
        choice = choose([replace(m, share=kept[m.assignee_id]) for m in roster])
        roster = tuple(replace(m, share=0) for m in choice.roster)
        if choice.kept_for:
            assert choice.staff_id is None
            kept[choice.kept_for.assignee_id] += 1
    shares = [Fraction(m.assigned_count + kept[m.assignee_id], m.weight) for m in roster]
    assert max(shares) - min(shares) <= Fraction(1, min(given_weights))
    new_lead = choose([replace(m, is_expected=False, holds_share=True) for m in roster])
    assert new_lead.staff_id == "s-0", "a new lead is for those who are there"
    roster, counts = run(tuple(replace(m, on_duty=True, is_expected=False) for m in roster), kept.total())
    assert spread(roster) <= Fraction(1, min(given_weights))
    assert sum(counts.values()) == kept.total()


def test_no_share_is_kept_for_one_with_a_cap_or_inactive_nor_in_place_of_a_former_owner() -> None:
    there = member(1, assigned_count=1)
    for absent in (
        member(2, is_expected=True, limited_by="daily_cap"), member(2, is_expected=True, is_active=False),
        member(2, is_expected=True, on_duty=False, staff_active=False), member(2, on_duty=False),
    ):  # fmt: skip
        assert choose([there, absent]).staff_id == "s-1"
    expected = member(2, is_expected=True, on_duty=False)
    assert choose([there, expected]).kept_for == expected
    assert choose([there, expected], Rules(former_owner="s-1")).staff_id == "s-1"
