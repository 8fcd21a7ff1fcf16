"""What a trace says of one event; docs/runbook/why-no-ticket.md has whole stories."""

import re
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from leads.domain.assign import Rules, choose
from leads.domain.errors import BadRequest
from leads.domain.fields import FIELDS
from leads.domain.lead_list import FIGURES
from leads.domain.notifications import TEXTS as NOTICES
from leads.domain.trace import next_step, read_search, tell_stories
from leads.domain.trace_event import LANGUAGES, TEXTS, Step, Words
from leads.domain.trace_steps import (
    LIMITED,
    arrival_steps,
    decision_steps,
    notification_steps,
    state_step,
    ticket_steps,
)
from leads.domain.visible_text import duration
from ops.daily.report import ALSO_CALLED, FIGURE_NAMES
from tests.support.builders import STORED_EVENT as EVENT
from tests.support.builders import STORED_TICKET as TICKET
from tests.support.builders import TRACED_AT as NOW
from tests.support.builders import member, text_of

NOTHING = "nothing to do"
ROOT = Path(__file__).parents[3]
FLOW = ROOT / "docs" / "flow.md"


def steps_of(evidence: dict[str, Any], **changes: Any) -> list[Step]:
    return list(decision_steps(replace(EVENT, evidence=evidence, **changes)))


def test_a_text_names_all_that_it_can_be_and_what_is_no_short_text_cannot_be_searched_for() -> None:
    for text, event_id, phones, typed in (
        ("17", 17, (), None),
        ("TK000017", None, (), None),
        (" +84 905 111 222 ", None, ("+84905111222",), None),
        ("0905111222", None, ("+84905111222",), None),
        ("905111222", 905111222, ("+84905111222",), None),
        ("0905 11", None, (), "0905 11"),
        ("1234567", 1234567, (), None),
        ("12345678", 12345678, (), "12345678"),
        ("9" * 19, None, (), "9" * 19),
    ):
        search = read_search(text)
        found = (search.event_id, search.phones, search.typed)
        assert (search.text, found) == (text.strip(), (event_id, phones, typed))
    for value in (None, 17, "", " ", "x" * 201, "a\0b", ["17"]):
        with pytest.raises(BadRequest, match="Give a phone, a record id"):
            read_search(value)


def test_every_documented_outcome_and_reason_is_explained() -> None:
    """tests/sql/test_rules.py has the error codes."""
    text = FLOW.read_text("utf-8")
    outcomes = text[text.index("| outcome of a processed row |") :].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", outcomes, re.MULTILINE)) == set(TEXTS["result"]) - {
        "other_table",
        "before",
    }
    rejected = re.search(r"with a reason: ([^.]*)\.", text)
    assert rejected is not None
    assert set(re.findall(r"`(\w+)`", rejected[1])) == set(TEXTS["rejected"])
    assert set(re.findall(r"\| `(refused|unreached|unknown|no_recipients)` \|", text)) == set(TEXTS["unsent"])


def test_the_rule_by_which_the_customer_was_found_is_named(subtests: pytest.Subtests) -> None:
    for matched, candidates, text in (
        ("+84905111222", [], "new, no account has +84905111222"),
        ("+84905111222", ["a"], "its own phone is +84905111222"),
        ("+84905111222", ["b", "a"], "its own phone is +84905111222, the oldest enabled of 2"),
        (None, ["a"], "a contact of it has the phone"),
        (None, [], "the account of the record's ticket or of its last version"),
        ("", ["a"], "its own phone is the phone"),
    ):
        with subtests.test(matched=matched, candidates=candidates):
            found: Any = {"digests": {"matched": "k:1"}} if matched == "" else {"matched": matched}
            phone = found | {"winner": "a", "candidates": candidates}
            steps = steps_of({"phone": phone})
            assert text_of("customer", steps) == f"Trang: {text}"


def test_what_a_version_left_for_people_to_look_at_is_noted() -> None:
    evidence: dict[str, Any] = {
        "notes": ["table_unknown"],
        "future_time": True,
        "cut_fields": ["name"],
        "phone_changed": {"ticket_before": "t", "ticket_stays": "shared"},
        "ticket_account": {"account_id": "a", "state": "deleted"},
    }
    notes = [step.text for step in steps_of(evidence) if step.kind == "note"]
    assert notes == [
        "Pancake did not say in which table the record is: it is taken as a lead",
        "its time was in the far future: the time of arrival counts",
        "longer than what is kept: name",
        "the phone changed in Pancake; the former ticket stays: another record shares it",
        "the account of its ticket is deleted",
    ]


def test_a_layer_a_corrected_phone_and_an_earlier_hold_are_shown() -> None:
    event = replace(
        EVENT, origin="reconcile", held_at=NOW, replay_count=2, replayed_by="s-1", replayed_at=NOW,
        evidence={"corrected_phone": "0905111223", "forced": True},
    )  # fmt: skip
    steps = list(arrival_steps(event))
    assert [step.kind for step in steps] == ["reconcile", "held", "replay"]
    assert steps[2].text == 'replayed by Hạnh with the phone "0905111223", forced (replay 2)'


SKIPPED = {"status": "skipped_kill_switch"}
SKIPPED_SOURCE = {"status": "skipped_source_disabled"}
DISABLED = SKIPPED_SOURCE | {"connection_status": "disabled"}
NONE_ACTIVE: dict[str, Any] = SKIPPED_SOURCE | {"has_active_source": False}
DEAD = {"status": "dead_letter"}
FAILED = {"status": "failed", "error_code": "internal"}
OF_RULE = {"error_detail": "CheckViolation of ticket.phone_known, digest 0a1b2c3d"}
RULE = (
    "a rule of Diva's table ticket refuses the row: "
    """psql -c "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'phone_known'\"; """
    "have Diva's DBA change it, then: leads replay 17"
)
LOCKED = (
    "wait for the next attempt; if it fails too, end the session under locks in: leads status --all, "
    "then: leads replay 17"
)
RIGHTS = (
    "as the owner: psql -f deploy/postgres/grant_roles.sql; if a trigger of Diva's needs more rights, "
    "Diva's DBA grants them; then: leads replay 17"
)
DIED = "the handlers ended at work: read why in their log, then: leads replay {}"
RETRIED = "wait for the next attempt, or: leads replay 17"
NEXT_STEPS: list[tuple[dict[str, Any], str]] = [
    (FAILED, RETRIED), (FAILED | {"error_code": "contended"}, LOCKED), (FAILED | OF_RULE, RULE),
    (DEAD | {"error_code": "contended"}, LOCKED), (DEAD | OF_RULE | {"error_code": "internal"}, RULE),
    (FAILED | {"error_detail": "CheckViolation of pancake_webhook_event.x, digest 0"}, RETRIED),
    (DEAD | {"error_code": "claim_expired"}, DIED.format(17)),
    (FAILED | {"error_detail": "InsufficientPrivilege, digest 0"}, RIGHTS),
    (DEAD | {"error_code": "erased", "fault": "none"}, NOTHING),
    (SKIPPED, "leads replay 17"),
    (SKIPPED | {"has_no_body": True, "body": None},
     f"{NOTHING}: the body was emptied, so it cannot be replayed"),
    (DISABLED | {"connection": "Diva sandbox"},
     "leads connection enable 'Diva sandbox', then: leads replay 17"),
    (NONE_ACTIVE | {"sources": ["Cộng tác viên"]},
     "leads switch source 'Cộng tác viên' on --reason fixed, then: leads replay 17"),
    (NONE_ACTIVE | {"sources": ["A", "B"]},
     "leads switch source A on --reason fixed (or B), then: leads replay 17"),
    ({"status": "received"}, "leads trace 17 --follow; if it stays so: leads status"), ({}, NOTHING),
]  # fmt: skip


def test_the_next_step_is_a_command_where_one_helps(subtests: pytest.Subtests) -> None:
    for changes, text in NEXT_STEPS:
        with subtests.test(text):
            assert next_step([replace(EVENT, **changes)]) == text


def test_a_handler_that_stopped_is_distinguished_from_one_at_work() -> None:
    for seconds, text in {
        25: "ingested: a handler works on it",
        26: "ingested: the handler stopped: its claim of 25 s has ended",
    }.items():
        step = state_step(replace(EVENT, status="ingested"), NOW + timedelta(seconds=seconds))
        assert (step.kind, step.text) == ("waits", text)


def test_a_code_without_words_of_its_own_is_told_by_its_detail() -> None:
    for detail, text in (("The disk is full.", "odd: The disk is full."), (None, "odd: no reason is stored")):
        dead = replace(EVENT, status="dead_letter", error_code="odd", error_detail=detail)
        assert text in state_step(dead, NOW).text


def test_a_dead_letter_is_past_once_a_later_version_was_applied() -> None:
    dead = replace(EVENT, id=16, status="dead_letter", error_code="claim_expired")
    assert next_step([dead, EVENT]) == NOTHING
    assert next_step([dead, replace(EVENT, outcome="stale")]) == DIED.format(16)


def test_rows_of_one_lead_make_one_story() -> None:
    first = replace(EVENT, id=16)
    other = replace(EVENT, id=9, newest_id=9, status="received", ticket=None, ticket_id=None)
    stories = tell_stories([first, EVENT, other], NOW)
    assert [(story.reason, story.tickets, story.is_at_rest) for story in stories] == [
        ("ticket_created", ("TK000017",), True),
        ("received", (), False),
    ]


def test_a_time_in_a_text_is_in_utc_whatever_the_zone_of_the_server() -> None:
    saigon = timezone(timedelta(hours=7))
    assert Words().time(NOW.astimezone(saigon)) == Words().time(NOW) == "2026-11-26 03:00:00"


def test_spans_and_lists_are_short() -> None:
    spans = {"0 s": -5, "40 s": 40, "119 min": 119 * 60, "47 h": 47 * 3600, "3 d": 72 * 3600}
    assert [duration(timedelta(seconds=each)) for each in spans.values()] == [*spans]
    assert Words().listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


TABLES = ROOT / "hasura/migrations/default/1777870069931_create_pancake_tables/up.sql"
MEMBER_LIMIT = "CREATE FUNCTION public.pancake_member_limit"


def test_every_reason_for_which_a_member_is_skipped_has_words() -> None:
    function = TABLES.read_text("utf-8").partition(MEMBER_LIMIT)[2].partition("$$;")[0]
    limits = re.findall(r"THEN '(\w+)'", function)
    unavailable = [member(1, is_active=False), member(2, staff_active=False), member(3, on_duty=False)]
    limited = [member(number, limited_by=limit) for number, limit in enumerate(limits, 4)]
    available = [member(7), member(8, assigned_count=9), member(9)]
    skipped = choose([*unavailable, *limited, *available], Rules(not_again=frozenset({"s-9"}))).skipped
    absent = choose([member(1)], Rules(former_owner="s-2")).former_owner
    assert absent is not None
    assert {reason for _, reason in skipped} | {absent[1]} == set(TEXTS["unavailable"])
    assert set(limits) == set(LIMITED)


def owner_of(assignment: dict[str, object]) -> str:
    evidence: dict[str, Any] = {"assignment": assignment, "result": "ticket_created"}
    return text_of("owner", steps_of(evidence))


def test_the_owner_is_explained_by_the_counters_that_decided(subtests: pytest.Subtests) -> None:
    equal = [member(2, assigned_count=2), member(3, assigned_count=2)]
    for roster, text in (
        ([member(1)], "Hạnh: the only one available"),
        ([member(1), member(2, last_assigned_seq=1)], "Hạnh: 0 tickets like 1 other, waited longest"),
        (equal, "Khoa: 2 tickets like 1 other, first by id of those who waited longest"),
        ([member(1, assigned_count=1), member(2, assigned_count=2)], "Hạnh: 1 ticket, fewest of 2"),
        ([member(1, assigned_count=5, weight=3), *equal], "Hạnh: 5 tickets at weight 3, fewest of 3"),
    ):
        with subtests.test(roster=roster, text=text):
            assert owner_of(choose(roster).evidence()) == text


def test_a_former_owner_is_named_with_why_the_turns_decided(subtests: pytest.Subtests) -> None:
    for former, turn, reason in (
        (member(1, on_duty=False), "the only one available", "off duty"),
        (member(1, limited_by="daily_cap"), "the only one available", "daily cap reached"),
        (member(1, assigned_count=9), "0 tickets, fewest of 2", "too many tickets ahead of the others"),
        (member(3), "0 tickets like 1 other, waited longest", "not in the roster"),
        (member(1), "", ""),
    ):
        with subtests.test(former=former, turn=turn):
            choice = choose([former, member(2, last_assigned_seq=-1)], Rules(former_owner="s-1"))
            why_not = f"Khoa: {turn}; former owner Hạnh not taken: {reason}"
            assert owner_of(choice.evidence()) == (why_not if reason else "Hạnh: the customer's former owner")


def test_each_recall_is_shown_with_the_reason_of_the_last() -> None:
    choice = choose([member(1), member(2), member(3)], Rules(not_again=frozenset({"s-1", "s-2"})))
    hops = [
        {"from": f"s-{n}", "to": f"s-{n + 1}", "at": NOW.isoformat(), "reason": "no_first_response"}
        for n in (1, 2)
    ]
    assignment = choice.evidence() | {"assigned_at": NOW.isoformat(), "recalls": hops, "skipped_before": []}
    steps = steps_of({"assignment": assignment})
    assert text_of("owner", steps) == "Hạnh: until the ticket was recalled"
    assert [(step.text, step.at) for step in steps if step.kind == "recall"] == [
        ("from Hạnh (no response in time) to Khoa", NOW),
        ("from Khoa (no response in time) to Lan: the only one available", NOW),
    ]
    assert (
        text_of("roster", steps)
        == "Hạnh 0 (had the ticket before), Khoa 0 (had the ticket before), Lan 0 (chosen)"
    )


def test_a_late_owner_and_a_settled_ticket_are_explained() -> None:
    assignment = choose([member(1)]).evidence() | {
        "assigned_at": NOW.isoformat(),
        "skipped_before": [{"staff_id": "s-2", "reason": "off_duty"}],
    }
    steps = steps_of({"assignment": assignment})
    assert text_of("owner", steps) == "Hạnh: found at 2026-11-26 03:00:00: the only one available"
    assert text_of("skipped", steps) == "when the ticket was created: Khoa (off duty)"
    assert owner_of({"chosen": None, "settled": "ticket_closed"}) == "left alone: a person closed it"


SENDINGS: list[tuple[dict[str, Any], str]] = [
    ({"notified_at": NOW}, "accepted"),
    ({}, "being sent"),
    ({"notify_sent": ["new_lead"]}, "accepted"),
    ({"notify_error": "refused", "notify_attempts": 2, "notify_next_at": NOW},
     "not accepted: Hasura, or the service behind it, answered with an error (2 tries); "
     "next at 2026-11-26 03:00:00"),
    ({"notify_error": "unreached", "notify_given_up_at": NOW},
     "given up: Hasura, or the service behind it, was not reached"),
]  # fmt: skip


def test_a_notification_says_who_gets_it_and_whether_it_was_accepted(subtests: pytest.Subtests) -> None:
    sent = [{"name": "new_lead", "recipient_ids": ["s-1"]}]
    for changes, text in SENDINGS:
        with subtests.test(changes=changes, text=text):
            event = replace(EVENT, **({"notifications": sent, "notified_at": None} | changes))
            assert text_of("told", list(notification_steps(event))) == f"Hạnh: new_lead, {text}"


def after(**span: float) -> str:
    return (NOW + timedelta(**span)).isoformat()


TOLD = "managers told at 2026-11-26 03:00:00"
TICKETS: list[tuple[dict[str, Any], int, str]] = [
    ({}, 10, "new, Hạnh; unanswered, due in 20 min"),
    ({}, 45, f"new, Hạnh; unanswered, 15 min late; {TOLD}"),
    ({"owner_id": "s-2"}, 10, "new, Khoa (changed in Diva); unanswered, due in 20 min"),
    ({"status": "done", "is_open": False}, 10, "done, Hạnh; never answered"),
    ({"first_response_at": after(minutes=12)}, 99, "new, Hạnh; answered after 12 min (SLA 30 min)"),
    ({"first_response_at": after(minutes=31)}, 99,
     "new, Hạnh; answered after 31 min (SLA 30 min, too late)"),
    ({"business_minutes": 45.0}, 45, f"new, Hạnh; unanswered, 15 min late; {TOLD}"),
    ({"business_minutes": 0.0}, 20,
     "new, Hạnh; unanswered, by the clock due in 10 min, by business hours due in 30 min"),
    ({"business_minutes": 25.0}, 600,
     f"new, Hạnh; unanswered, by the clock 9 h late, by business hours due in 5 min; {TOLD}"),
    ({"business_minutes": 40.0}, 600,
     f"new, Hạnh; unanswered, by the clock 9 h late, by business hours 10 min late; {TOLD}"),
    ({"first_response_at": after(hours=9), "business_minutes": 12.0}, 999,
     "new, Hạnh; answered after 9 h by the clock, 12 min by business hours"
     " (SLA 30 min, too late by the clock)"),
    ({"first_response_at": after(hours=9), "business_minutes": 50.0}, 999,
     "new, Hạnh; answered after 9 h by the clock, 50 min by business hours (SLA 30 min, too late)"),
]  # fmt: skip


def test_the_ticket_says_who_owns_it_and_how_it_stands_against_the_sla(subtests: pytest.Subtests) -> None:
    for ticket, minutes, text in TICKETS:
        with subtests.test(text):
            event = replace(EVENT, ticket=TICKET | ticket, evidence={"sla_notified_at": NOW.isoformat()})
            steps = list(ticket_steps([event], NOW + timedelta(minutes=minutes)))
            assert text_of("ticket", steps) == f"TK000017: {text}"


def test_every_member_of_the_roster_is_named_with_count_and_reason() -> None:
    roster = [
        member(1, assigned_count=3), member(2, assigned_count=4, weight=2),
        member(3, assigned_count=9, on_duty=False),
    ]  # fmt: skip
    evidence: dict[str, Any] = {"assignment": choose(roster).evidence(), "result": "ticket_created"}
    for language, text in (
        ("en", "Hạnh 3, Khoa 4 at weight 2 (chosen), Lan 9 (off duty)"),
        ("vi", "số ticket đã chia: Hạnh 3, Khoa 4, trọng số 2 (được chọn), Lan 9 (không trong ca)"),
    ):
        steps = steps_of(evidence, language=language)
        assert text_of("roster", steps) == text


def test_every_text_has_two_languages_with_the_same_values() -> None:
    for table, texts in TEXTS.items():
        for name, in_languages in texts.items():
            assert len(in_languages) == len(LANGUAGES), (table, name)
            english, vietnamese = (
                {value for _, value, _, _ in Formatter().parse(text) if value} for text in in_languages
            )
            assert vietnamese <= english, (table, name)


CODES = {
    *FIELDS, *FIGURES, *NOTICES,
    *(code for table in ("error", "held", "rejected", "result", "result_name", "account_state", "table",
        "stays", "unavailable", "settled", "recalled", "unsent", "status") for code in TEXTS[table]),
} - {"email", "lead", "leads"}  # fmt: skip
"""What English texts name as it is stored, but for words of Vietnamese and the command."""
LEFT = {
    "notes": ["table_unknown"], "future_time": True, "cut_fields": ["name", "interested_products", "page_id"],
    "phone_changed": {"ticket_before": "t", "ticket_stays": "shared"},
    "ticket_account": {"account_id": "a", "state": "deleted"},
    "applied_account": {"account_id": "a", "state": "disabled"},
}  # fmt: skip


def test_no_text_in_vietnamese_has_a_word_of_the_code() -> None:
    """Those of notices and of the report neither, nor the golden files."""
    noted = [step.text for step in steps_of(dict(LEFT), language="vi", table_name="contact")]
    assert noted[-4:] == [
        "dài quá nên bị cắt bớt: Tên, Quan tâm, mã của Pancake",
        "số điện thoại đã đổi trong Pancake; ticket cũ giữ nguyên: còn lead khác dùng chung",
        "khách của ticket: đã bị xóa",
        "khách của lần gửi trước: đang bị khóa",
    ]
    said = [
        *noted, *FIGURE_NAMES.values(), *ALSO_CALLED.values(),
        *(in_languages[1] for texts in TEXTS.values() for in_languages in texts.values()),
        *(f"{text.title} {text.sentences()}" for text in NOTICES.values()),
        *(path.read_text("utf-8") for path in (ROOT / "tests/ops/golden/vi").glob("*.txt")),
    ]  # fmt: skip
    code = re.compile(rf"\b(?:{'|'.join(CODES)})\b")
    lines = (re.sub(r"{\w+}|^# .*|docs/\S+|--reason \w+", "", line) for line in "\n".join(said).splitlines())
    assert [line for line in lines if code.search(line)] == []


def test_of_an_erased_customer_no_name_is_said() -> None:
    """Retention leaves the digests that say by which rule the account was found; an erasure does not."""
    phone: Any = {"winner": "a", "candidates": ["a"], "digests": {"matched": "k:1"}}
    emptied = replace(EVENT, body=None, has_no_body=True, evidence={"phone": phone})
    assert "Trang" in text_of("customer", list(decision_steps(emptied)))
    erased = replace(emptied, evidence={})
    assert not [step for step in decision_steps(erased) if step.kind == "customer"]
