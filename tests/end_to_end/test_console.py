"""What the Hasura console sends for "Redeliver" and "Invoke", on the whole system."""

import json
from typing import Any

import httpx

from tests.support.end_to_end import EndToEndHarness
from tests.support.waiting import eventually

TRIGGER = "pancake_webhook_event_status_update"
SECONDS = 30


def metadata(harness: EndToEndHarness, kind: str, /, **args: Any) -> Any:
    answer = httpx.post(
        f"{harness.hasura_url}/v1/metadata",
        json={"type": kind, "args": {"source": "default", **args}},
        headers={"X-Hasura-Admin-Secret": harness.admin_secret},
        timeout=SECONDS,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def answers(harness: EndToEndHarness, hasura_event_id: str) -> list[dict[str, Any]]:
    """The handler's answers to the deliveries of an event, the newest first, as in Invocation Logs."""
    found = metadata(harness, "pg_get_event_by_id", event_id=hasura_event_id)["invocations"]
    return [json.loads(each["response"]["data"]["body"]) for each in found]


def process(harness: EndToEndHarness, body: dict[str, Any]) -> tuple[int, str]:
    """Deliver a lead and wait until it is processed; return its id, and Hasura's event."""
    event_id = httpx.post(harness.webhook_url, json=body, timeout=SECONDS).json()["event_id"]
    state = f"SELECT status FROM pancake_webhook_event WHERE id = {event_id} AND status <> 'received'"
    eventually(lambda: harness.query(state), seconds=SECONDS)
    (row,) = harness.query(
        f"SELECT id FROM hdb_catalog.event_log WHERE payload #>> '{{data,new,id}}' = '{event_id}'"
    )
    eventually(lambda: len(answers(harness, row["id"])) == 1, seconds=SECONDS)
    return event_id, row["id"]


def test_redeliver_and_invoke_name_the_event_that_has_the_outcome(harness: EndToEndHarness) -> None:
    lead = {"id": "console-1", "phone_number": "none", "source": ["-1"]}
    event_id, hasura_event_id = process(harness, lead)
    assert answers(harness, hasura_event_id)[0]["result"] == "dead_letter"
    metadata(harness, "pg_redeliver_event", event_id=hasura_event_id)
    eventually(lambda: len(answers(harness, hasura_event_id)) == 2, seconds=SECONDS)
    replayed = answers(harness, hasura_event_id)[0]
    assert (replayed["result"], replayed["event_id"]) == ("replayed", event_id)
    eventually(lambda: answers(harness, replayed["hasura_event_id"]), seconds=SECONDS)
    assert answers(harness, replayed["hasura_event_id"])[0]["result"] == "dead_letter"
    replays = f"SELECT replayed_by, replay_count FROM pancake_webhook_event WHERE id = {event_id}"
    (row,) = harness.query(replays)
    assert row == {"replayed_by": "console:redeliver", "replay_count": 1}

    row = {"id": event_id, "status": "dead_letter"}
    invoked = metadata(harness, "pg_invoke_event_trigger", name=TRIGGER, payload=row)["event_id"]
    eventually(lambda: answers(harness, invoked), seconds=SECONDS)
    assert answers(harness, invoked)[0]["result"] == "replayed"


def test_the_button_delete_of_a_row_is_refused_with_the_reason(harness: EndToEndHarness) -> None:
    """Browse Rows deletes by the mutation of the role admin."""
    event_id, _ = process(harness, {"id": "console-3", "phone_number": "0905333444", "source": ["-1"]})
    answer = httpx.post(
        f"{harness.hasura_url}/v1/graphql",
        json={"query": f"mutation {{ delete_pancake_webhook_event_by_pk(id: {event_id}) {{ id }} }}"},
        headers={"X-Hasura-Admin-Secret": harness.admin_secret},
        timeout=SECONDS,
    ).json()
    assert "they detect duplicates" in json.dumps(answer["errors"])
    assert len(harness.query(f"SELECT id FROM pancake_webhook_event WHERE id = {event_id}")) == 1


def test_redeliver_of_a_processed_lead_names_its_ticket(harness: EndToEndHarness) -> None:
    lead = {"id": "console-2", "name": "Thử", "phone_number": "0905111777", "source": ["-1"]}
    event_id, hasura_event_id = process(harness, lead)
    metadata(harness, "pg_redeliver_event", event_id=hasura_event_id)
    eventually(lambda: len(answers(harness, hasura_event_id)) == 2, seconds=SECONDS)
    answer = answers(harness, hasura_event_id)[0]
    (row,) = harness.query(
        "SELECT t.code FROM ticket AS t JOIN pancake_webhook_event AS e ON e.ticket_id = t.id"
        f" WHERE e.id = {event_id}"
    )
    assert (answer["result"], answer["ticket_code"]) == ("already_processed", row["code"])
