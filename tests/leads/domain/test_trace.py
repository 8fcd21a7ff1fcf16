"""What a trace says of one event; docs/runbook/why-no-ticket.md has whole stories."""

import re
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from leads.domain.duration import duration
from leads.domain.errors import BadRequest
from leads.domain.trace.advice import NOTHING, next_step
from leads.domain.trace.decisions import RESULTS, decision_steps
from leads.domain.trace.people import UNSENT
from leads.domain.trace.reasons import ERRORS, HELD, REJECTED, arrival_steps, state_step
from leads.domain.trace.search import read_search
from leads.domain.trace.step import clock_time, listed
from leads.domain.trace.story import tell_stories
from tests.support.stored_event import EVENT, NOW, TICKET, text_of

FLOW = Path(__file__).parents[3] / "docs" / "flow.md"


@pytest.mark.parametrize(
    ("text", "event_id", "phones", "typed"),
    [
        ("17", 17, (), None),
        ("TK000017", None, (), None),
        (" +84 905 111 222 ", None, ("+84905111222",), None),
        ("0905111222", None, ("+84905111222",), None),
        ("905111222", 905111222, ("+84905111222",), None),
        ("0905 11", None, (), "0905 11"),
        ("1234567", 1234567, (), None),
        ("12345678", 12345678, (), "12345678"),
        ("9" * 19, None, (), "9" * 19),
    ],
)
def test_a_text_names_all_that_it_can_be(
    text: str, event_id: int | None, phones: tuple[str, ...], typed: str | None
) -> None:
    search = read_search(text)
    found = (search.event_id, search.phones, search.typed)
    assert (search.text, found) == (text.strip(), (event_id, phones, typed))


def test_what_is_no_short_text_cannot_be_searched_for() -> None:
    for value in (None, 17, "", " ", "x" * 201, "a\0b", ["17"]):
        with pytest.raises(BadRequest, match="Give a phone, a record id"):
            read_search(value)


def test_every_documented_code_is_explained() -> None:
    text = FLOW.read_text("utf-8")
    codes = text[text.index("| error code |") :].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", codes, re.MULTILINE)))) == set(
        ERRORS
    )
    outcomes = text[text.index("| outcome of a processed row |") :].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", outcomes, re.MULTILINE)) == set(RESULTS)
    rejected = re.search(r"with a reason: ([^.]*)\.", text)
    assert rejected is not None
    assert set(re.findall(r"`(\w+)`", rejected[1])) == set(REJECTED)
    assert set(re.findall(r"\| `(refused|unreached|unknown|no_recipients)` \|", text)) == set(UNSENT)


@pytest.mark.parametrize(
    ("phone", "text"),
    [
        (
            {"winner": "a", "matched": "+84905111222", "candidates": []},
            "Trang: new, no account has +84905111222",
        ),
        (
            {"winner": "a", "matched": "+84905111222", "candidates": ["a"]},
            "Trang: its own phone is +84905111222",
        ),
        (
            {"winner": "a", "matched": "+84905111222", "candidates": ["b", "a"]},
            "Trang: its own phone is +84905111222, the oldest enabled of 2",
        ),
        ({"winner": "a", "matched": None, "candidates": ["a"]}, "Trang: a contact of it has the phone"),
        (
            {"winner": "a", "matched": None, "candidates": []},
            "Trang: the account of the record's ticket or of its last version",
        ),
        (
            {"winner": "a", "digests": {"matched": "k:1"}, "candidates": ["a"]},
            "Trang: its own phone is the phone",
        ),
    ],
)
def test_the_rule_by_which_the_customer_was_found_is_named(phone: Any, text: str) -> None:
    assert text_of("customer", list(decision_steps(replace(EVENT, evidence={"phone": phone})))) == text


def test_what_a_version_left_for_people_to_look_at_is_noted() -> None:
    evidence: dict[str, Any] = {
        "notes": ["table_unknown"],
        "future_time": True,
        "cut_fields": ["name"],
        "phone_changed": {"ticket_before": "t", "ticket_stays": "shared"},
        "ticket_account": {"account_id": "a", "state": "deleted"},
    }
    notes = [step.text for step in decision_steps(replace(EVENT, evidence=evidence)) if step.kind == "note"]
    assert notes == [
        "Pancake did not say in which table the record is: it is taken as a lead",
        "its time was in the far future: the time of arrival counts",
        "longer than what is kept: name",
        "the phone changed in Pancake; the former ticket stays: another record shares it",
        "the account of its ticket is deleted",
    ]


def test_a_layer_a_corrected_phone_and_an_earlier_hold_are_told() -> None:
    event = replace(
        EVENT, origin="reconcile", held_at=NOW, replay_count=2, replayed_by="s-1", replayed_at=NOW,
        evidence={"corrected_phone": "0905111223", "forced": True},
    )  # fmt: skip
    steps = list(arrival_steps(event))
    assert [step.kind for step in steps] == ["reconcile", "held", "replay"]
    assert steps[2].text == 'replayed by Hạnh with the phone "0905111223", forced (replay 2)'


@pytest.mark.parametrize("held_by", HELD)
def test_what_holds_an_event_is_named(held_by: str) -> None:
    status = "skipped_kill_switch" if held_by == "kill_switch" else "skipped_source_disabled"
    step = state_step(replace(EVENT, status=status, evidence={"held_by": held_by}, held_at=NOW), NOW)
    assert step.text == f"{status}: {HELD[held_by]}"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"status": "dead_letter", "error_code": "claim_expired"}, "leads replay 17"),
        ({"status": "dead_letter", "error_code": "erased"}, NOTHING),
        ({"status": "skipped_kill_switch"}, "leads replay 17"),
        (
            {"status": "skipped_kill_switch", "has_no_body": True, "body": None},
            f"{NOTHING}: the body was emptied, so it cannot be replayed",
        ),
        (
            {"status": "skipped_source_disabled", "connection_status": "disabled"},
            "leads connection enable Diva, then: leads replay 17",
        ),
        (
            {
                "status": "skipped_source_disabled",
                "connection": "Diva sandbox",
                "connection_status": "disabled",
            },
            "leads connection enable 'Diva sandbox', then: leads replay 17",
        ),
        (
            {"status": "skipped_kill_switch", "kill_switch": True},
            "leads switch kill off --reason TEXT, then: leads replay 17",
        ),
        (
            {"status": "skipped_source_disabled", "sources": ["Cộng tác viên"], "has_active_source": False},
            "leads switch source 'Cộng tác viên' on --reason TEXT, then: leads replay 17",
        ),
        (
            {"status": "skipped_source_disabled", "sources": ["A", "B"], "has_active_source": False},
            "leads switch source A on --reason TEXT (or B), then: leads replay 17",
        ),
        (
            {"status": "received", "processing_paused": True},
            "leads switch pause off --reason TEXT: it is processed then",
        ),
        (
            {
                "ticket": TICKET | {"owner_id": None},
                "evidence": {"assignment": {"skipped": [{"staff_id": "s-1", "reason": "open_cap"}]}},
            },
            "raise a limit, or put somebody into the roster or on duty: retry_failed assigns it then",
        ),
        (
            {"status": "dead_letter", "error_code": "internal"},
            "find that digest in the handlers' log, mend the cause, then: leads replay 17",
        ),
        ({"ticket": None}, "leads replay 17 --force opens a new ticket"),
        ({"outcome": "record_deleted"}, NOTHING),
        ({}, NOTHING),
    ],
)
def test_the_next_step_is_a_command_where_one_helps(changes: dict[str, Any], text: str) -> None:
    assert next_step([replace(EVENT, **changes)]) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (60, "ingested: a handler works on it"),
        (61, "ingested: the handler stopped: its claim of 1 min has ended"),
    ],
)
def test_a_handler_that_stopped_is_told_from_one_that_works(seconds: int, text: str) -> None:
    step = state_step(replace(EVENT, status="ingested"), NOW + timedelta(seconds=seconds))
    assert (step.kind, step.text) == ("waits", text)


def test_a_dead_letter_is_past_once_a_later_version_was_applied() -> None:
    dead = replace(EVENT, id=16, status="dead_letter", error_code="claim_expired")
    assert next_step([dead, EVENT]) == NOTHING
    assert next_step([dead, replace(EVENT, outcome="stale")]) == "leads replay 16"


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
    assert clock_time(NOW.astimezone(saigon)) == clock_time(NOW) == "2026-11-26 03:00:00"


def test_spans_and_lists_are_short() -> None:
    seconds = (-5, 40, 119 * 60, 47 * 3600, 72 * 3600)
    assert [duration(timedelta(seconds=each)) for each in seconds] == [
        "0 s",
        "40 s",
        "119 min",
        "47 h",
        "3 d",
    ]
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
