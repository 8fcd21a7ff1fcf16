"""process_record refuses requests that Hasura would not send."""

import json
from typing import Any

from tests.support.handlers import HandlerHarness


def event_body(**changes: Any) -> dict[str, Any]:
    return {
        "id": "0b8f6c1e-3f1a-4f0e-9a51-0d6a8c1f7a11",
        "created_at": "2026-03-04T05:06:07.123456",
        "table": {"schema": "public", "name": "pancake_webhook_event"},
        "trigger": {"name": "pancake_webhook_event_status_update"},
        "delivery_info": {"current_retry": 0, "max_retries": 3},
        "event": {"op": "INSERT", "data": {"old": None, "new": {"id": 1}}, "session_variables": None},
    } | changes


BAD_IDS: list[object] = [None, True, 1.5, -1, "", "x", "²", "٣", "9" * 5000, "1; DROP TABLE ticket", [1], {}]


MALFORMED: list[Any] = [
    None,
    [],
    "text",
    5,
    {},
    event_body(trigger=None),
    event_body(trigger={}),
    event_body(trigger={"name": 5}),
    event_body(id=None),
    event_body(id=5),
    event_body(event=None),
    event_body(event=[]),
    event_body(event={"op": "INSERT"}),
    event_body(event={"op": None, "data": {"new": {"id": 1}}}),
    event_body(event={"op": "DELETE", "data": {"new": None}}),
    *(event_body(event={"op": "INSERT", "data": {"new": {"id": bad}}}) for bad in BAD_IDS),
]


async def test_a_malformed_body_is_answered_with_400_and_changes_nothing(harness: HandlerHarness) -> None:
    event_id = (await harness.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    contents = [json.dumps(bad).encode() for bad in MALFORMED]
    contents += [b"", b"{", b"\xff", b"[" * 50_000, b'{"a": ' * 5000, b'{"id": ' + b"9" * 6000 + b"}"]
    for content in contents:
        response = await harness.client.post(
            "/events/process_record", content=content, headers=harness.headers
        )
        assert response.status_code == 400, content[:200]
        assert response.json()["extensions"] == {"code": "bad_request"}
    assert harness.event(event_id)["status"] == "received"


async def test_a_body_above_the_size_limit_is_refused(harness: HandlerHarness) -> None:
    content = b" " * (1024 * 1024 + 1)
    response = await harness.client.post("/events/process_record", content=content, headers=harness.headers)
    assert (response.status_code, response.json()["extensions"]["code"]) == (400, "bad_request")


async def test_an_unknown_trigger_is_answered_with_400(harness: HandlerHarness) -> None:
    for name in ("another_trigger", "", "pancake_ingest_record", "\ud800", "x" * 5000):
        content = json.dumps(event_body(trigger={"name": name})).encode()
        response = await harness.client.post(
            "/events/process_record", content=content, headers=harness.headers
        )
        assert (response.status_code, response.json()["extensions"]["code"]) == (400, "unknown_trigger")
        assert len(response.json()["message"]) < 1000


async def test_a_wrong_secret_is_answered_with_401_and_changes_nothing(harness: HandlerHarness) -> None:
    event_id = (await harness.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    for headers in ({}, {"X-Handler-Secret": "wrong"}, {"X-Edge-Secret": "edge-secret-for-tests"}):
        content = json.dumps(event_body(event={"op": "INSERT", "data": {"new": {"id": event_id}}})).encode()
        response = await harness.client.post("/events/process_record", content=content, headers=headers)
        assert (response.status_code, response.json()["extensions"]["code"]) == (401, "unauthorized")
    assert harness.event(event_id)["status"] == "received"
