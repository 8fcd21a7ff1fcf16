"""Pancake's simulator with our client for it, a clock that a test sets, and the vendor's schemas."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import yaml

from leads.adapters.pancake_api import Access, Page, PancakeApi
from leads.domain.window import Window
from sandbox.pancake.app import create_app
from sandbox.pancake.workspace import Workspace

SCHEMAS = yaml.safe_load((Path(__file__).parents[2] / "sandbox/pancake/schemas.yaml").read_text())


API_KEY = "0123456789abcdef0123456789abcdef"


T0 = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)


class SimulatorClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = T0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


class Receiver:
    """The endpoint that Pancake calls: answers with `status` and keeps what came."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self.status)

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests]


class Simulator:
    """A workspace with a receiver, its API and our client for it."""

    def __init__(self, **options: Any) -> None:
        self.clock, self.receiver = SimulatorClock(), Receiver()
        self.workspace = Workspace(
            now=self.clock.now, transport=httpx.MockTransport(self.receiver), **options
        )
        self.workspace.sender.settings.url = "https://edge.test/api/pancake/record/token"
        self.workspace.sender.settings.retry_seconds = [0, 0]
        transport = httpx.ASGITransport(create_app(self.workspace))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://pancake.test")
        self.client = PancakeApi(self.clock, {"http://pancake.test"}, transport=transport)
        self.access = Access("c1", "http://pancake.test/api", 123, API_KEY)

    async def get(self, path: str, **query: str) -> httpx.Response:
        return await self.http.get(f"/api/workspaces/123/{path}", params={"api_key": API_KEY, **query})

    async def listed(self, window: Window | None = None) -> list[Page]:
        wanted = window.record_filter() if window else None
        return [page async for page in self.client.pages(self.access, "lead", wanted)]

    async def aclose(self) -> None:
        await self.workspace.aclose()
        await self.http.aclose()
        await self.client.aclose()


@asynccontextmanager
async def simulated(**options: Any) -> AsyncIterator[Simulator]:
    simulator = Simulator(**options)
    try:
        yield simulator
    finally:
        await simulator.aclose()


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
    kinds: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    kind = schema.get("type", "object")
    fits: bool = isinstance(value, kinds[kind])
    assert fits, f"{where} is no {kind}: {value!r}"
    if kind == "object":
        assert set(schema.get("required", ())) <= set(value), where
        for name, part in schema.get("properties", {}).items():
            if name in value:
                conforms(value[name], part, f"{where}.{name}")
    items: list[Any] = value if kind == "array" else []
    for place, item in enumerate(items):
        conforms(item, schema["items"], f"{where}[{place}]")
    if "enum" in schema:
        assert value in schema["enum"], where
    readers: dict[str, Callable[[str], object]] = {
        "uuid": UUID,
        "date-time": datetime.fromisoformat,
        "integer": int,
    }
    if reader := readers.get(schema.get("format", "")):
        reader(value)


def answer_schema(path: str, method: str, status: int) -> dict[str, Any]:
    schema: dict[str, Any] = SCHEMAS["answers"]["/workspaces/{workspace_id}/" + path][method][str(status)]
    return schema
