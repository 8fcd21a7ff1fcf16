"""One lead followed through the logs as docs/logs.md says: edge, Hasura, handlers, notification."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.edge.nginx import NginxEdge
from tests.support.end_to_end import EndToEndHarness
from tests.support.leads import numbered_lead
from tests.support.waiting import eventually, eventually_async

PAGE = (Path(__file__).parents[2] / "docs" / "logs.md").read_text("utf-8")
RECORD_ID = "2f941efe-d9a3-4d9a-affe-{:012d}"
TRACE = "0af7651916cd43dd8448eb211c80319c"
Line = dict[str, Any]


class Logs:
    """The lines of edge and handlers in a running sandbox."""

    def __init__(self, harness: EndToEndHarness) -> None:
        sandbox = harness.sandbox
        if sandbox is None:
            pytest.skip("reads the log files of the sandbox")
        if not isinstance(sandbox.edge, NginxEdge):
            pytest.skip("the small edge has no access log; the real one needs Debian's nginx with Lua")
        self.sandbox = sandbox
        self._edge = sandbox.edge

    def of_handlers(self, **fields: object) -> list[Line]:
        text = (self.sandbox.home / "handlers.log").read_text()
        return _matching((line for line in text.splitlines() if line.startswith("{")), fields)

    def of_edge(self, **fields: object) -> list[Line]:
        return _matching(self._edge.access_log().splitlines(), fields)


def _matching(lines: Any, fields: dict[str, object]) -> list[Line]:
    found = [json.loads(line) for line in lines]
    return [line for line in found if all(line.get(name) == value for name, value in fields.items())]


def of_hasura(harness: EndToEndHarness, event_id: int) -> list[Line]:
    """Run the statement of the page."""
    (statement,) = re.findall(r"```sql\n(.*?);\n", PAGE, re.S)
    return harness.query(statement.replace("'17'", "%s"), [str(event_id)])


def notified_keys(harness: EndToEndHarness) -> set[str]:
    sent = httpx.get(f"{harness.notifications_url}/sent").json()["sent"]
    return {notification["idempotency_key"] for notification in sent}


async def test_a_lead_is_followed_by_its_record_id_and_event_id(harness: EndToEndHarness) -> None:
    logs, record_id = Logs(harness), RECORD_ID.format(1)
    body = json.dumps(numbered_lead(1) | {"id": record_id}).encode()
    (answer,) = await harness.post([body])
    event_id = answer["event_id"]
    await eventually_async(lambda: len(logs.of_handlers(record_id=record_id)) == 2)

    stored, processed = logs.of_handlers(record_id=record_id)
    assert (stored["route"], stored["event_id"]) == ("/actions/ingest_record", event_id)
    (edge,) = logs.of_edge(event_id=str(event_id))
    assert (edge["outcome"], edge["upstream"]) == ("received", "hasura")
    # The edge's trace went through Hasura to the handlers.
    assert edge["trace_id"] == edge["request_id"] == stored["trace_id"]
    assert (processed["route"], processed["event_id"]) == ("/events/process_record", event_id)
    assert (processed["answer"]["result"], processed["notified"]) == ("ticket_created", True)
    assert processed["parent_span_id"]
    (fired,) = of_hasura(harness, event_id)
    assert (fired["delivered"], fired["tries"]) == (True, 1)
    assert any(key.startswith(f"{event_id}:") for key in notified_keys(harness))


def test_a_lead_that_was_in_the_spool_is_followed_by_its_trace(harness: EndToEndHarness) -> None:
    logs, record_id = Logs(harness), RECORD_ID.format(2)
    logs.sandbox.hasura.stop()
    logs.sandbox.handlers.stop()
    try:
        body = json.dumps(numbered_lead(2) | {"id": record_id}).encode()
        answer = httpx.post(
            harness.webhook_url,
            content=body,
            headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
            timeout=30,
        )
        assert answer.json() == {"status": "spooled"}
        eventually(lambda: logs.of_edge(trace_id=TRACE))
        (edge,) = logs.of_edge(trace_id=TRACE)
        assert (edge["outcome"], edge["event_id"]) == ("spooled", "")
    finally:
        for service in (logs.sandbox.hasura, logs.sandbox.handlers):
            service.start()
            service.wait_ready()
    eventually(lambda: logs.of_handlers(record_id=record_id), seconds=30)
    stored = logs.of_handlers(record_id=record_id)[0]
    assert stored["trace_id"] == edge["trace_id"]
    assert stored["answer"]["status"] == "received"
