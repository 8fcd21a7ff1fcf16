"""The trace of a request: in each of its log lines, and in its calls of Hasura and Pancake."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, cast

import httpx
import pytest

from app import create_app
from leads.adapters.batcher import Batcher
from leads.adapters.clock import Clock
from leads.adapters.graphql import GraphqlClient
from leads.adapters.pancake_api import Access, PancakeApi
from leads.adapters.secrets import KeyRing
from leads.adapters.tracing import TraceContext, current_trace, within
from leads.services.runtime import Runtime
from tests.support.fakes import FakeHasura
from tests.support.handlers import HandlerHarness, running_handlers, started
from tests.support.leads import LEAD
from tests.support.logs import captured_logs
from tests.support.scripted_server import Asked, Scripted, ScriptedServer, scripted_server
from tests.support.settings import HANDLER_SECRET, handler_settings

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OTHER_TRACE = "1" * 32
B3 = {"X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN, "X-B3-ParentSpanId": "c" * 16, "X-B3-Sampled": "1"}
"""As Hasura sends it."""
TAKEN: Scripted = (200, {}, {"data": {"sendNotifications": {"accepted": 1, "duplicates": 0}}})


@pytest.fixture
def hasura() -> Iterator[ScriptedServer]:
    """A Hasura that takes notifications, over HTTP."""
    with scripted_server([TAKEN] * 9) as server:
        yield server


@pytest.fixture
async def traced(
    database: str, connection_id: str, key_ring: KeyRing, hasura: ScriptedServer
) -> AsyncIterator[HandlerHarness]:
    """One process of the handlers with its real client of Hasura."""
    client = cast(FakeHasura, GraphqlClient(hasura.url, "token"))
    async with running_handlers(handler_settings(database, key_ring), connection_id, client) as harness:
        yield harness


def lines_of(lines: list[str], message: str = "request") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in lines]
    return [line for line in found if line["message"] == message]


def headers_of(asked: Asked) -> dict[str, str]:
    return {name.lower(): value for name, value in asked.headers.items()}


async def fire(harness: HandlerHarness, headers: dict[str, str], context: object = None) -> dict[str, Any]:
    """Deliver the event of a new lead; return its canonical line."""
    event_id = (await harness.deliver(LEAD))["event_id"]
    event = {"op": "INSERT", "data": {"old": None, "new": {"id": event_id}}, "trace_context": context}
    body = {"id": "e", "trigger": {"name": "pancake_webhook_event_status_update"}, "event": event}
    with captured_logs() as lines:
        answer = await harness.client.post(
            "/events/process_record", json=body, headers={"X-Handler-Secret": HANDLER_SECRET, **headers}
        )
    assert answer.json()["result"] == "ticket_created"
    (line,) = lines_of(lines)
    return line


@pytest.mark.parametrize(
    "headers",
    [B3, {"traceparent": f"00-{TRACE}-{SPAN}-01"}, {"b3": f"{TRACE}-{SPAN}-1"}],
    ids=["B3", "traceparent", "b3"],
)
async def test_the_trace_of_hasura_is_logged_and_goes_on_to_hasura(
    traced: HandlerHarness, hasura: ScriptedServer, headers: dict[str, str]
) -> None:
    line = await fire(traced, headers)
    assert (line["trace_id"], line["parent_span_id"]) == (TRACE, SPAN)
    sent = headers_of(hasura.asked[-1])
    assert sent["traceparent"] == f"00-{TRACE}-{line['span_id']}-01"
    assert (sent["x-b3-traceid"], sent["x-b3-sampled"]) == (TRACE, "1")


async def test_without_headers_the_trace_of_the_event_goes_on(traced: HandlerHarness) -> None:
    line = await fire(traced, {}, {"trace_id": TRACE, "span_id": SPAN, "sampling_state": "1"})
    assert (line["trace_id"], line["parent_span_id"]) == (TRACE, SPAN)


async def test_a_delivery_in_another_trace_names_both(traced: HandlerHarness) -> None:
    line = await fire(traced, B3, {"trace_id": OTHER_TRACE, "span_id": SPAN})
    assert (line["trace_id"], line["event_trace_id"]) == (TRACE, OTHER_TRACE)


@pytest.mark.parametrize(
    "context", [None, {"trace_id": "0905111222"}, "x", {"trace_id": TRACE, "span_id": 7}]
)
async def test_what_is_invalid_begins_a_trace_and_shows_nowhere(
    traced: HandlerHarness, hasura: ScriptedServer, context: object
) -> None:
    line = await fire(traced, {"traceparent": f"00-{TRACE}-{SPAN}", "X-B3-TraceId": "Khach"}, context)
    assert line["trace_id"] != TRACE
    assert "parent_span_id" not in line
    assert headers_of(hasura.asked[-1])["x-b3-traceid"] == line["trace_id"]
    assert "Khach" not in json.dumps(line)


async def test_every_line_of_a_request_has_its_trace_and_its_event(
    database: str, connection_id: str, key_ring: KeyRing
) -> None:
    async with running_handlers(handler_settings(database, key_ring), connection_id, FakeHasura()) as harness:
        harness.hasura.failing = True
        event_id = (await harness.deliver(LEAD))["event_id"]
        with captured_logs() as lines:
            await harness.fire(event_id)
        (line,), (deferred,) = lines_of(lines), lines_of(lines, "notifications deferred")
        assert (line["event_id"], line["record_id"], line["notified"]) == (event_id, LEAD["id"], False)
        assert deferred["trace_id"] == line["trace_id"]


async def test_requests_at_the_same_time_do_not_mix(traced: HandlerHarness) -> None:
    async def deliver(number: int) -> None:
        headers = {"X-Handler-Secret": HANDLER_SECRET, "traceparent": f"00-{number:032x}-{SPAN}-01"}
        body = {"action": {"name": "pancake_ingest_record"}, "session_variables": {}, "request_query": ""}
        given = {"token_sha256": "0" * 64, "payload": {"id": str(number)}}
        await traced.client.post("/actions/ingest_record", json={**body, "input": given}, headers=headers)

    with captured_logs() as lines:
        await asyncio.gather(*(deliver(number) for number in range(1, 30)))
    assert {line["trace_id"] for line in lines_of(lines)} == {f"{number:032x}" for number in range(1, 30)}


async def test_a_shared_call_has_the_trace_of_its_first_item_and_the_next_one_another() -> None:
    seen: list[str] = []
    begun, gate = asyncio.Event(), asyncio.Event()

    async def send(items: Sequence[int]) -> list[int]:
        trace = current_trace()
        seen.append(trace.trace_id if trace else "")
        begun.set()
        await gate.wait()
        return list(items)

    async def submit(number: int) -> None:
        with within(TraceContext(str(number) * 32, SPAN)):
            await batcher.submit(number)

    batcher: Batcher[int, int] = Batcher(send, max_batch_size=9, batches_at_a_time=1)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(submit(1))
        await begun.wait()
        group.create_task(submit(2))
        group.create_task(submit(3))
        await asyncio.sleep(0)
        gate.set()
    assert seen == ["1" * 32, "2" * 32]


async def test_a_record_id_that_may_be_anything_is_not_logged(traced: HandlerHarness) -> None:
    with captured_logs() as lines:
        await traced.deliver(LEAD | {"id": "0905111222"})
    (line,) = lines_of(lines)
    assert line["event_id"]
    assert "record_id" not in line


async def test_the_policy_of_the_edge_and_a_refused_call_have_a_trace_too(
    database: str, key_ring: KeyRing
) -> None:
    settings = handler_settings(database, key_ring)
    app = create_app(Runtime.assemble(settings, graphql=FakeHasura()))
    async with started(app, settings.database_url) as (client, _):
        with captured_logs() as lines:
            await client.get("/edge/policy")
            await client.post("/cron/check_sla", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    first, second = lines_of(lines)
    assert (first["status"], second["status"]) == (401, 401)
    assert first["trace_id"] != second["trace_id"] == TRACE


async def test_pancake_gets_the_trace() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"data": []})

    api = PancakeApi(Clock(), {"http://pancake.test"}, transport=httpx.MockTransport(answer))
    with within(TraceContext(TRACE, SPAN, is_sampled=True)):
        await api.sources(Access("c", "http://pancake.test", 1, "key"))
    await api.aclose()
    assert asked[0].headers["traceparent"] == f"00-{TRACE}-{SPAN}-01"
