"""The simulator answers as the vendor's OpenAPI documents say, and fails only on request; its webhook."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import respx
import yaml

from leads.adapters.pancake_api import Access, Page, PancakeApi
from leads.domain.listing import Window
from sandbox.pancake.control import create_app
from sandbox.pancake.workspace import Workspace
from tests.support.fakes import API_KEY, T0, SimulatorClock

WEBHOOK_URL = "https://edge.test/api/pancake/record/token"
SCHEMAS = yaml.safe_load((Path(__file__).parents[2] / "sandbox/pancake/schemas.yaml").read_text())
KINDS: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
FORMATS: dict[str, Any] = {"uuid": UUID, "date-time": datetime.fromisoformat, "integer": int}


class Simulator:
    """A workspace with a receiver, its API and our client for it."""

    def __init__(self) -> None:
        self.clock, edge = SimulatorClock(), respx.Router()
        self.receiver = edge.post(WEBHOOK_URL).respond(200)
        transport = httpx.MockTransport(edge.async_handler)
        self.workspace = Workspace(now=self.clock.now, transport=transport)
        self.workspace.sender.settings.url = WEBHOOK_URL
        self.workspace.sender.settings.retry_seconds = [0, 0]
        api = httpx.ASGITransport(create_app(self.workspace))
        self.http = httpx.AsyncClient(transport=api, base_url="http://pancake.test")
        self.client = PancakeApi(self.clock, {"http://pancake.test"}, transport=api)
        self.access = Access("c1", "http://pancake.test/api", 123, API_KEY)

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(call.request.content) for call in self.receiver.calls]

    async def get(self, path: str, **query: str) -> httpx.Response:
        return await self.http.get(f"/api/workspaces/123/{path}", params={"api_key": API_KEY, **query})

    async def listed(self, window: Window | None = None) -> list[Page]:
        wanted = window.record_filter() if window else None
        return [page async for page in self.client.pages(self.access, "lead", wanted)]

    async def aclose(self) -> None:
        await self.workspace.aclose()
        await self.http.aclose()
        await self.client.aclose()


def conforms(value: Any, schema: dict[str, Any], where: str = "$") -> None:
    """Assert that a value is what a schema of the vendor says."""
    if "$ref" in schema:
        target: Any = SCHEMAS
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        conforms(value, target, where)
        return
    if value is None and schema.get("nullable"):
        return
    kind = schema.get("type", "object")
    assert isinstance(value, KINDS[kind]), f"{where} is no {kind}: {value!r}"
    if kind == "object":
        assert set(schema.get("required", ())) <= set(value), where
        for name in schema.get("properties", {}).keys() & value.keys():
            conforms(value[name], schema["properties"][name], f"{where}.{name}")
    for place, item in enumerate(value if kind == "array" else ()):
        conforms(item, schema["items"], f"{where}[{place}]")
    if "enum" in schema:
        assert value in schema["enum"], where
    if "format" in schema:
        FORMATS[schema["format"]](value)


def answer_schema(path: str) -> dict[str, Any]:
    return dict(SCHEMAS["answers"]["/workspaces/{workspace_id}/" + path]["get"]["200"])


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with aclosing(Simulator()) as started:
        yield started


async def test_every_answer_conforms_to_the_vendors_schemas(simulator: Simulator) -> None:
    """A list is in the envelope, which the document leaves out."""
    lead = simulator.workspace.new_lead()
    simulator.workspace.bulk(40, T0 - timedelta(days=1), T0)
    conforms((await simulator.get("lead/records")).json()["data"], answer_schema("{table_name}/records"))
    record = await simulator.get(f"record/{lead['id']}", table_name="lead")
    conforms(record.json(), answer_schema("record/{record_id}"))
    conforms((await simulator.get("sources")).json(), answer_schema("sources"))


async def test_our_client_reads_the_whole_list_in_pages_of_thirty(simulator: Simulator) -> None:
    simulator.workspace.bulk(100, T0 - timedelta(days=1), T0)
    pages = await simulator.listed()
    assert [len(page.entries) for page in pages] == [30, 30, 30, 10, 0]
    times = [str(entry["modified_on"]) for page in pages for entry in page.entries]
    assert times == sorted(times, reverse=True)
    assert len({entry["id"] for page in pages for entry in page.entries}) == 100


async def test_the_time_filter_narrows_the_list(simulator: Simulator) -> None:
    simulator.workspace.bulk(500, T0 - timedelta(days=10), T0)
    pages = await simulator.listed(Window(T0 - timedelta(days=5), T0 - timedelta(days=4)))
    found = [
        datetime.fromisoformat(str(e["modified_on"])).replace(tzinfo=UTC) for p in pages for e in p.entries
    ]
    asked = (T0 - timedelta(days=5, hours=14), T0 - timedelta(days=4, hours=-14))
    assert min(found) - asked[0] < timedelta(minutes=30)
    assert asked[1] - max(found) < timedelta(minutes=30)


async def test_bad_requests_are_refused(simulator: Simulator, subtests: pytest.Subtests) -> None:
    for query, status in (
        ({"api_key": "wrong"}, 401),
        ({"filter": "{"}, 422),
        ({"filter": '{"fields":[{"field_name":"x","type":"$no"}]}'}, 422),
        ({"cursor": "?"}, 422),
    ):
        with subtests.test(query=query, status=status):
            assert (await simulator.get("lead/records", **query)).status_code == status


async def test_a_record_is_listed_after_its_lag_once_in_its_newest_version(simulator: Simulator) -> None:
    simulator.workspace.faults.lag_seconds = 60
    lead = simulator.workspace.new_lead()
    assert (await simulator.listed())[0].entries == []
    assert await simulator.client.record(simulator.access, "lead", lead["id"]) == lead
    simulator.clock.time += timedelta(seconds=60)
    assert (await simulator.listed())[0].entries == [lead]

    late = simulator.workspace.edit_lead(lead["id"])
    simulator.clock.time += timedelta(seconds=5)
    simulator.workspace.faults.lag_seconds = 0
    newest = simulator.workspace.edit_lead(lead["id"])
    assert lead["created_on"] == newest["created_on"] < late["modified_on"] < newest["modified_on"]
    for _ in range(2):
        (page, _) = await simulator.listed()
        assert page.entries == [newest]
        simulator.clock.time += timedelta(seconds=60)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"down": True}, "PancakeUnavailable"),
        ({"rate_limited": True}, "PancakeBusy"),
        ({"error_rate": 1}, "PancakeUnavailable"),
        ({"truncate_body": True}, "PancakeUnavailable"),
        ({"unauthorized": True}, "PancakeKeyRejected"),
        ({"success_false": True}, "PancakeKeyRejected"),
        ({"repeat_cursor": True}, "repeated_cursor"),
        ({"cut_page": 3}, "complete"),
        ({}, "complete"),
    ],
)
async def test_our_client_distinguishes_the_faults(
    simulator: Simulator, fault: dict[str, Any], outcome: str
) -> None:
    simulator.workspace.bulk(100, T0 - timedelta(days=1), T0)
    assert (await simulator.http.post("/control/faults", json=fault)).status_code == 200
    (result,) = await asyncio.gather(simulator.listed(), return_exceptions=True)
    if isinstance(result, BaseException):
        assert type(result).__name__ == outcome
        return
    assert result[-1].ending == outcome
    seen = {"repeat_cursor": 60, "cut_page": 88}
    assert sum(len(page.entries) for page in result) == next((seen[name] for name in fault), 100)


async def test_faults_are_checked_by_name_and_type_and_can_be_reset(simulator: Simulator) -> None:
    for wrong in ({"dwon": True}, {"down": 1}, {"drop": True}):
        assert (await simulator.http.post("/control/faults", json=wrong)).status_code == 422
    await simulator.http.post("/control/faults", json={"drop": 0.5})
    assert (await simulator.http.delete("/control/faults")).json()["drop"] == 0


async def test_webhook_bodies_conform(simulator: Simulator, subtests: pytest.Subtests) -> None:
    for _ in range(20):
        simulator.workspace.new_lead()
    await simulator.workspace.sender.idle()
    bodies = simulator.bodies()
    assert len(bodies) == 20
    for body in bodies:
        with subtests.test(body=body):
            conforms(body, SCHEMAS["components"]["schemas"]["RecordPayload"])
            assert "interested_product" not in body


async def test_dropped_doubled_and_delayed_webhooks_are_counted(simulator: Simulator) -> None:
    simulator.workspace.faults.change({"drop": 0.3, "duplicate": 0.1, "delay": 0.1, "delay_seconds": 0})
    await simulator.http.post("/control/leads", json={"count": 500})
    await simulator.http.post("/control/webhook/idle")
    counts = (await simulator.http.get("/control/state")).json()["counts"]
    assert 100 < counts["dropped"] < 200
    assert 20 < counts["doubled"] < 60
    assert counts["requests"] == counts["events"] - counts["dropped"] + counts["doubled"]
    assert simulator.receiver.call_count == counts["requests"]


async def test_deliveries_carry_the_custom_headers(simulator: Simulator) -> None:
    simulator.workspace.sender.settings.url = ""
    webhook = {"url": WEBHOOK_URL, "headers": {"X-Webhook-Token": "abc"}}
    assert (await simulator.http.post("/control/webhook", json=webhook)).status_code == 200
    await simulator.http.post("/control/leads", json={"count": 1, "rate": 1000})
    await simulator.workspace.sender.idle()
    assert simulator.receiver.calls.last.request.headers["X-Webhook-Token"] == "abc"


async def test_a_failed_delivery_is_tried_twice_more(simulator: Simulator) -> None:
    simulator.receiver.respond(500)
    simulator.workspace.new_lead()
    await simulator.workspace.sender.idle()
    assert simulator.receiver.call_count == 3
    assert simulator.workspace.sender.counts["given_up"] == 1


async def send_leads(simulator: Simulator, count: int, status: int) -> None:
    """Write leads; the receiver answers this status to each of their deliveries, which are not repeated."""
    simulator.workspace.sender.settings.retry_seconds = []
    simulator.receiver.respond(status)
    for _ in range(count):
        simulator.workspace.new_lead()
    await simulator.workspace.sender.idle()


async def test_the_webhook_is_suspended_at_300_failures_above_80_percent(simulator: Simulator) -> None:
    sender = simulator.workspace.sender
    await send_leads(simulator, 299, 503)
    assert sender.enabled
    await send_leads(simulator, 1, 503)
    assert not sender.enabled
    await send_leads(simulator, 1, 200)
    assert simulator.receiver.call_count == 300
    await simulator.http.post("/control/webhook/enable")
    await send_leads(simulator, 1, 200)
    assert simulator.receiver.call_count == 301
    assert list(sender.delivered) == [simulator.bodies()[-1]["id"]]


async def test_older_failures_or_those_below_80_percent_suspend_nothing(simulator: Simulator) -> None:
    for status, count, minutes in ((503, 299, 0), (200, 75, 31), (503, 299, 0), (503, 1, 0)):
        simulator.clock.time += timedelta(minutes=minutes)
        await send_leads(simulator, count, status)
    assert simulator.workspace.sender.enabled


async def test_the_control_api_lists_what_was_written_and_delivered(simulator: Simulator) -> None:
    (made,) = (await simulator.http.post("/control/leads", json={"count": 1})).json()["record_ids"]
    edited = await simulator.http.post("/control/edits", json={"record_ids": [made]})
    assert edited.json()["record_ids"] == [made]
    await simulator.workspace.sender.idle()
    assert sorted(body["event_type"] for body in simulator.bodies()) == ["insert", "update"]
    lines = (await simulator.http.get("/control/records")).text.splitlines()
    (line,) = map(json.loads, lines)
    assert line["record"]["id"] == made
    assert len(line["delivered"]) == 2
    assert (await simulator.http.post("/control/edits", json={"record_ids": ["?"]})).status_code == 404
