"""What the handlers log, as docs/observability.md says: fields, no secrets; the trace of a request, in lines
and in its calls of Hasura and Pancake. Readiness, and the checks of the engine."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from pytest_httpserver import HTTPServer

from leads.adapters.batcher import Batcher
from leads.adapters.graphql import GraphqlClient
from leads.adapters.logs import describe
from leads.adapters.secrets import KeyRing
from leads.adapters.tracing import TraceContext, current_trace, within
from leads.runtime import Runtime
from leads.services.cron_runs import CRONS
from tests.support.crons import CronHarness
from tests.support.fakes import FakeHasura
from tests.support.handlers import HandlerHarness, running_handlers
from tests.support.leads import LEAD
from tests.support.logs import captured_logs
from tests.support.processing import process, stored
from tests.support.settings import (
    EDGE_SECRET,
    HANDLER_SECRET,
    WEBHOOK_TOKEN,
    WEBHOOK_TOKEN_SHA256,
    handler_settings,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "observability.md").read_text("utf-8")
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OTHER_TRACE = "1" * 32
B3 = {"X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN, "X-B3-ParentSpanId": "c" * 16, "X-B3-Sampled": "1"}
"""As Hasura sends it."""


def lines_of(lines: list[str], message: str = "request") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in lines]
    return [line for line in found if line["message"] == message]


# The fields of docs/observability.md


def table(heading: str, number: int = 0) -> dict[str, list[str]]:
    """The rows of a table below a heading, by the code in their first cell; `number`: which table."""
    section = PAGE.partition(f"\n{heading}\n")[2].partition("\n### ")[0]
    blocks = re.findall(r"(?:^\|.*\n)+", section, re.M)
    rows = [re.split(r" *\| *", line)[1:-1] for line in blocks[number].splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in rows}


async def all_kinds_of_requests(harness: CronHarness) -> None:
    """Serve a request of each route, and of each kind of answer to an event."""
    for name in CRONS:
        await harness.tick(name)
    lead = await process(harness)
    await harness.fire(lead.id)
    await harness.request_replay(ids=[lead.id])
    await harness.call_action({"text": str(lead.id)}, name="trace_lead")
    await harness.call_action({"figure": "leads"}, name="list_leads")
    await harness.client.get("/edge/policy", headers={"X-Edge-Secret": EDGE_SECRET})
    await harness.client.post("/events/process_record", content=b"x", headers={**harness.headers, **B3})
    dead = await process(harness, id="no-phone", phone_number="x")
    await harness.fire(dead.id, "MANUAL", hasura_event_id="1b8f6c1e-3f1a-4f0e-9a51-0d6a8c1f7a11")
    harness.refuse_tickets("RAISE EXCEPTION 'broken'", 1)
    failed = await process(harness, id="other", phone_number="0905111223")
    assert failed.result == "failed"
    await harness.fire(failed.id)
    await harness.fire(0, headers=B3, trace={"trace_id": OTHER_TRACE, "span_id": SPAN})


async def test_the_canonical_line_and_its_answers_have_documented_fields(cron_harness: CronHarness) -> None:
    with captured_logs() as written:
        await all_kinds_of_requests(cron_harness)
    lines = lines_of(written)
    every, canonical = table("### Every line of the handlers"), table("### The canonical line")
    of_exceptions = {name for name, (where, _) in every.items() if "exception" in where}
    assert of_exceptions == set(describe(ValueError()))
    assert {name for line in lines for name in line} == (set(every) | set(canonical)) - of_exceptions
    always = {name for name, (where, _) in every.items() if where == "every line"}
    assert all(always | set(canonical) | {"trace_id", "span_id"} <= set(line) for line in lines)

    fields = table("### The canonical line", 1).items()
    documented = {route: set(re.findall(r"`([^`]+)`", row[0])) for route, row in fields}
    refused = documented.pop("any, if refused or failed")
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for line in lines:
        if line["status"] == 200:
            seen[re.sub(r"^/cron/.*", "/cron/…", line["route"])] |= set(line["answer"])
        else:
            assert set(line["answer"]) == refused, line
    assert dict(seen) == documented


async def test_neither_a_secret_nor_a_record_id_of_a_body_is_logged(
    harness: HandlerHarness, capture_logs: list[str]
) -> None:
    await harness.deliver(LEAD)
    await harness.deliver(b'{"api_key": "in-the-body"')
    await harness.deliver(LEAD, token="some-unknown-token")
    await stored(harness, id="0905111222")
    given = {"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": "no base64 at all"}
    await harness.call_action(given)
    await harness.call_action(given, {"X-Handler-Secret": "a-wrong-secret"})
    content = b"{" + WEBHOOK_TOKEN.encode()
    await harness.client.post("/actions/ingest_record", content=content, headers=harness.headers)
    lines = "\n".join(capture_logs)
    assert lines.count('"message": "request"') == 7
    assert '"event_id"' in lines
    tokens = (WEBHOOK_TOKEN, WEBHOOK_TOKEN_SHA256, "some-unknown-token", HANDLER_SECRET, "a-wrong-secret")
    assert [text for text in (*tokens, "in-the-body", "0905111222") if text in lines] == []


# The trace


@pytest.fixture
def hasura(httpserver: HTTPServer) -> HTTPServer:
    """A Hasura that takes notifications, over HTTP."""
    taken = {"data": {"sendNotifications": {"accepted": 1, "duplicates": 0}}}
    httpserver.expect_request("/v1/graphql").respond_with_json(taken)
    return httpserver


@pytest.fixture
async def traced(
    kept_pools: None, database: str, connection_id: str, key_ring: KeyRing, hasura: HTTPServer
) -> AsyncIterator[HandlerHarness]:
    """One process of the handlers with its real client of Hasura."""
    client = cast(FakeHasura, GraphqlClient(hasura.url_for("").rstrip("/"), "token"))
    async with running_handlers(handler_settings(database, key_ring), connection_id, client) as harness:
        yield harness


async def fire(harness: HandlerHarness, headers: dict[str, str], context: object = None) -> dict[str, Any]:
    """Deliver the event of a new customer's lead; return its canonical line."""
    number = harness.count("pancake_webhook_event")
    event_id = await stored(harness, id=f"r-{number}", phone_number=f"09051113{number:02}")
    with captured_logs() as lines:
        answer = await harness.fire(event_id, headers=headers, trace=context)
    assert answer.json()["result"] == "ticket_created"
    (line,) = lines_of(lines)
    return line


async def test_hasuras_trace_is_logged_and_sent_to_hasura(traced: HandlerHarness, hasura: HTTPServer) -> None:
    """The headers come before the trace of the event, which is named too."""
    traced.fill_roster(1)
    traceparent = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    for headers in (B3, traceparent, {"b3": f"{TRACE}-{SPAN}-1"}):
        line = await fire(traced, headers)
        assert (line["trace_id"], line["parent_span_id"]) == (TRACE, SPAN)
        sent = hasura.log[-1][0].headers
        assert sent["traceparent"] == f"00-{TRACE}-{line['span_id']}-01"
        assert (sent["x-b3-traceid"], sent["x-b3-sampled"]) == (TRACE, "1")
    line = await fire(traced, {}, {"trace_id": TRACE, "span_id": SPAN, "sampling_state": "1"})
    assert (line["trace_id"], line["parent_span_id"]) == (TRACE, SPAN)
    line = await fire(traced, B3, {"trace_id": OTHER_TRACE, "span_id": SPAN})
    assert (line["trace_id"], line["event_trace_id"]) == (TRACE, OTHER_TRACE)


async def test_every_line_of_a_request_has_its_trace_and_its_event(harness: HandlerHarness) -> None:
    harness.hasura.failing = True
    event_id = await stored(harness)
    with captured_logs() as lines:
        await harness.fire(event_id)
    (line,), (deferred,) = lines_of(lines), lines_of(lines, "notifications deferred")
    assert (line["event_id"], line["record_id"], line["notified"]) == (event_id, LEAD["id"], False)
    assert deferred["trace_id"] == line["trace_id"]


async def test_requests_at_the_same_time_do_not_mix(harness: HandlerHarness, capture_logs: list[str]) -> None:
    given = {"token_sha256": "0" * 64, "payload": {"id": "1"}}
    traces = [f"{number:032x}" for number in range(1, 30)]
    headers = [harness.headers | {"traceparent": f"00-{trace}-{SPAN}-01"} for trace in traces]
    await asyncio.gather(*(harness.call_action(given, each) for each in headers))
    assert {line["trace_id"] for line in lines_of(capture_logs)} == set(traces)


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


# Readiness: only the database decides


async def test_without_hasura_the_handlers_stay_ready(harness: HandlerHarness) -> None:
    """The edge hands deliveries over directly while Hasura is down: a load balancer must not stop them.

    The checks are metrics, too: no engine is here, so the event trigger has no SQL trigger.
    """
    harness.hasura.failing = True
    assert await harness.scrape("pancake_engine_check", check="event_trigger") == 0
    assert harness.value("pancake_engine_check", check="hasura") == 0
    answer = await harness.client.get("/readyz")
    assert (answer.status_code, answer.json()["hasura"], answer.json()["database"]) == (200, False, True)


# A process: its end, and its databases


async def test_the_end_waits_for_the_answer_of_a_cancelled_request(database: str, key_ring: KeyRing) -> None:
    async def serve() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(0.5)

    async with Runtime.assemble(handler_settings(database, key_ring)).running():
        request = asyncio.create_task(serve())
        await asyncio.sleep(0)
        request.cancel()
    assert request.done()


async def test_hasuras_own_database_is_a_second_one_only_if_it_differs(
    database: str, key_ring: KeyRing
) -> None:
    settings = handler_settings(database, key_ring)
    same = replace(settings, metadata_database_url="".join(settings.database_url))
    other = replace(settings, metadata_database_url=f"{settings.database_url}?application_name=metadata")
    for settings, is_one in ((same, True), (other, False)):
        runtime = Runtime.assemble(settings)
        assert (runtime.metadata_db is runtime.db) is is_one
        async with runtime.running(), runtime.undone() as dry_run:
            assert (dry_run.metadata_db is dry_run.db) is is_one
