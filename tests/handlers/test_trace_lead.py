"""trace_lead: the stories of leads for the Settings tabs, from the same statement as `leads trace`."""

import json

import pytest

from tests.support.handlers import HandlerHarness
from tests.support.leads import PHONE, RECORD_ID
from tests.support.settings import ADMIN_ID

SESSION = {"x-hasura-role": "crm_admin", "x-hasura-user-id": ADMIN_ID}


@pytest.mark.parametrize("text", ["0905 111 222", PHONE, RECORD_ID, "code", "id"])
async def test_it_tells_the_story_of_a_lead(harness: HandlerHarness, text: str) -> None:
    harness.fill_roster(2)
    event_id, _ = await harness.process_lead()
    (ticket,) = harness.sql("SELECT code FROM ticket WHERE source_id = 'ticket_source_pancake'")
    text = {"code": ticket["code"], "id": str(event_id)}.get(text, text)
    answer = await harness.call_action({"text": text}, name="trace_lead", session=SESSION)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["text"], found["has_ticket"]) == (text, True)
    (story,) = found["leads"]
    assert (story["record_id"], story["tickets"], story["next"]) == (
        RECORD_ID, [ticket["code"]], "nothing to do",
    )  # fmt: skip
    assert [step["kind"] for step in story["steps"]] == [
        "webhook", "result", "customer", "owner", "told", "ticket",
    ]  # fmt: skip


async def test_it_finds_a_phone_that_retention_emptied_by_its_digest(harness: HandlerHarness) -> None:
    event_id, _ = await harness.process_lead(source=["-1"], table_id="contact")
    harness.sql("SELECT pancake_empty_events(ARRAY[%s::bigint])", event_id)
    answer = await harness.call_action({"text": PHONE}, name="trace_lead", session=SESSION)
    assert [story["reason"] for story in answer.json()["leads"]] == ["contact_updated"]


async def test_the_log_shows_neither_what_was_searched_for_nor_what_was_found(
    harness: HandlerHarness, capture_logs: list[str]
) -> None:
    await harness.process_lead()
    capture_logs.clear()
    await harness.call_action({"text": "0905 111 222"}, name="trace_lead", session=SESSION)
    (line,) = capture_logs
    assert json.loads(line)["answer"] == {"has_ticket": True}


async def test_nothing_is_an_empty_list(harness: HandlerHarness) -> None:
    answer = await harness.call_action({"text": "no such record"}, name="trace_lead", session=SESSION)
    assert answer.json() == {"text": "no such record", "has_ticket": False, "leads": []}


@pytest.mark.parametrize("text", [None, 17, "", " ", "x" * 201, "a\0b", ["0905111222"]])
async def test_anything_but_a_short_text_is_refused_with_what_to_give(
    harness: HandlerHarness, text: object
) -> None:
    answer = await harness.call_action({"text": text}, name="trace_lead", session=SESSION)
    assert answer.status_code == 400
    assert "Give a phone, a record id" in answer.json()["message"]
