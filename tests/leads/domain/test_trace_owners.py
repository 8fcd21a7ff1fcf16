"""What a trace says of the owner: the turns, the former owner, the limits and the recalls."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leads.domain.assign import Member, Rules, choose
from leads.domain.trace.decisions import decision_steps
from leads.domain.trace.owners import LIMITED, UNAVAILABLE
from tests.support.builders import member
from tests.support.stored_event import EVENT, NOW, text_of

LIMITS = (
    Path(__file__)
    .parents[3]
    .joinpath("hasura", "migrations", "default", "1777870069931_create_pancake_tables", "up.sql")
)
MEMBER_LIMIT = "CREATE FUNCTION public.pancake_member_limit"


def test_every_reason_for_which_a_member_is_skipped_has_words() -> None:
    limits = re.findall(
        r"THEN '(\w+)'", LIMITS.read_text("utf-8").partition(MEMBER_LIMIT)[2].partition("$$;")[0]
    )
    unavailable = [member(1, is_active=False), member(2, staff_active=False), member(3, on_duty=False)]
    limited = [member(number, limited_by=limit) for number, limit in enumerate(limits, 4)]
    available = [member(7), member(8, assigned_count=9), member(9)]
    skipped = choose([*unavailable, *limited, *available], Rules(not_again=frozenset({"s-9"}))).skipped
    absent = choose([member(1)], Rules(former_owner="s-2")).former_owner
    assert absent is not None
    assert {reason for _, reason in skipped} | {absent[1]} == set(UNAVAILABLE)
    assert set(limits) == set(LIMITED)


@pytest.mark.parametrize(
    ("roster", "text"),
    [
        ([member(1)], "Hạnh: the only one available"),
        ([member(1), member(2)], "Hạnh: 0 tickets like 1 other, waited longest"),
        (
            [member(1, assigned_count=1), member(2, assigned_count=2)],
            "Hạnh: 1 ticket, fewest of 2",
        ),
        (
            [member(1, assigned_count=5, weight=3), member(2, assigned_count=2), member(3, assigned_count=2)],
            "Hạnh: 5 tickets at weight 3, fewest of 3",
        ),
        ([member(1, on_duty=False)], "none: no one in the roster is available"),
        ([], "none: the roster is empty"),
    ],
)
def test_the_owner_is_explained_by_the_counters_that_decided(roster: list[Member], text: str) -> None:
    evidence = {"assignment": choose(roster).evidence(), "result": "ticket_created"}
    steps = list(decision_steps(replace(EVENT, evidence=evidence)))  # type: ignore[arg-type]
    assert text_of("owner", steps) == text


@pytest.mark.parametrize(
    ("former", "text"),
    [
        (member(1), "Hạnh: the customer's former owner"),
        (member(1, on_duty=False), "Khoa: the only one available; former owner Hạnh not taken: off duty"),
        (
            member(1, limited_by="daily_cap"),
            "Khoa: the only one available; former owner Hạnh not taken: daily cap reached",
        ),
        (
            member(1, assigned_count=9),
            "Khoa: 0 tickets, fewest of 2; former owner Hạnh not taken: too many tickets ahead of the others",
        ),
        (
            member(3),
            "Khoa: 0 tickets like 1 other, waited longest; former owner Hạnh not taken: not in the roster",
        ),
    ],
)
def test_a_former_owner_is_named_with_why_the_turns_decided(former: Member, text: str) -> None:
    choice = choose([former, member(2, last_assigned_seq=-1)], Rules(former_owner="s-1"))
    evidence = {"assignment": choice.evidence()}
    steps = list(decision_steps(replace(EVENT, evidence=evidence)))  # type: ignore[arg-type]
    assert text_of("owner", steps) == text


def test_each_recall_is_told_and_why_of_the_last() -> None:
    choice = choose([member(1), member(2), member(3)], Rules(not_again=frozenset({"s-1", "s-2"})))
    hops = [
        {"from": f"s-{n}", "to": f"s-{n + 1}", "at": NOW.isoformat(), "reason": "no_first_response"}
        for n in (1, 2)
    ]
    assignment = choice.evidence() | {"assigned_at": NOW.isoformat(), "recalls": hops, "skipped_before": []}
    steps = list(decision_steps(replace(EVENT, evidence={"assignment": assignment})))  # type: ignore[dict-item]
    assert text_of("owner", steps) == "Hạnh: until the ticket was recalled"
    assert [(step.text, step.at) for step in steps if step.kind == "recall"] == [
        ("from Hạnh (no response in time) to Khoa", NOW),
        ("from Khoa (no response in time) to Lan: the only one available", NOW),
    ]
    assert text_of("skipped", steps) == "Hạnh (had the ticket before), Khoa (had the ticket before)"


def test_a_late_owner_and_a_settled_ticket_are_explained() -> None:
    assignment = choose([member(1)]).evidence() | {
        "assigned_at": NOW.isoformat(),
        "skipped_before": [{"staff_id": "s-2", "reason": "off_duty"}],
    }
    late = replace(EVENT, evidence={"assignment": assignment})  # type: ignore[dict-item]
    steps = list(decision_steps(late))
    assert text_of("owner", steps) == "Hạnh: found at 2026-11-26 03:00:00: the only one available"
    assert text_of("skipped", steps) == "when the ticket was created: Khoa (off duty)"
    settled: dict[str, Any] = {"chosen": None, "settled": "ticket_closed"}
    steps = list(decision_steps(replace(EVENT, evidence={"assignment": settled})))
    assert text_of("owner", steps) == "left alone: a person closed it"
