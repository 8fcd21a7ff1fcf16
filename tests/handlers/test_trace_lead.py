"""trace_lead: the stories of leads for the Settings tabs, from the same statement as `leads trace`."""

import json

import httpx

from tests.support.handlers import HandlerHarness
from tests.support.leads import PHONE, RECORD_ID
from tests.support.processing import process
from tests.support.settings import ADMIN_ID


async def ask(harness: HandlerHarness, text: object) -> httpx.Response:
    session = {"x-hasura-role": "crm_admin", "x-hasura-user-id": ADMIN_ID}
    return await harness.call_action({"text": text}, name="trace_lead", session=session)


async def test_it_tells_the_story_of_a_lead(harness: HandlerHarness, capture_logs: list[str]) -> None:
    """The log shows neither what was searched for nor what was found."""
    harness.fill_roster(2)
    lead = await process(harness)
    code = lead.ticket["code"]
    for text in ("0905 111 222", PHONE, RECORD_ID, code, str(lead.id)):
        capture_logs.clear()
        answer = await ask(harness, text)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["text"], found["has_ticket"]) == (text, True)
        (story,) = found["leads"]
        assert (story["record_id"], story["tickets"]) == (RECORD_ID, [code])
        assert story["next"] == "nothing to do"
        kinds = ["webhook", "result", "customer", "owner", "told", "ticket"]
        assert [step["kind"] for step in story["steps"]] == kinds
        (line,) = capture_logs
        assert json.loads(line)["answer"] == {"has_ticket": True}


async def test_it_finds_a_phone_that_retention_emptied_by_its_digest(harness: HandlerHarness) -> None:
    lead = await process(harness, table_id="contact")
    harness.sql("SELECT pancake_empty_events(ARRAY[%s::bigint])", lead.id)
    answer = await ask(harness, PHONE)
    assert [story["reason"] for story in answer.json()["leads"]] == ["contact_updated"]


async def test_nothing_is_an_empty_list_and_only_short_text_is_accepted(harness: HandlerHarness) -> None:
    answer = await ask(harness, "no such record")
    assert answer.json() == {"text": "no such record", "has_ticket": False, "leads": []}
    invalid: list[object] = [None, 17, "", " ", "x" * 201, "a\0b", ["0905111222"]]
    for text in invalid:
        answer = await ask(harness, text)
        assert answer.status_code == 400, text
        assert "Give a phone, a record id" in answer.json()["message"]
