"""Hasura's secret is not accepted in clear text from a public address."""

from dataclasses import replace

import httpx
import pytest

from app import create_app
from leads.services.runtime import Runtime
from tests.support.handlers import HandlerHarness
from tests.support.settings import HANDLER_SECRET

HEADERS = {"X-Handler-Secret": HANDLER_SECRET}


async def status(runtime: Runtime, caller: str, scheme: str) -> int:
    """The answer to an action with the right secret and a body that is none."""
    transport = httpx.ASGITransport(create_app(runtime), client=(caller, 5000))
    async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://handlers") as client:
        answer = await client.post("/actions/replay_events", headers=HEADERS, content=b"[]")
    return answer.status_code


@pytest.mark.parametrize(
    ("caller", "scheme", "expected"),
    [
        ("127.0.0.1", "http", 400),
        ("10.1.2.3", "http", 400),
        ("203.0.113.7", "https", 400),
        ("203.0.113.7", "http", 403),
        ("2001:db8::1", "http", 403),
    ],
)
async def test_a_public_caller_needs_tls(
    harness: HandlerHarness, caller: str, scheme: str, expected: int
) -> None:
    assert await status(harness.runtime, caller, scheme) == expected


async def test_clear_text_can_be_allowed(harness: HandlerHarness) -> None:
    settings = replace(harness.runtime.settings, clear_text=frozenset({"handlers"}))
    assert await status(replace(harness.runtime, settings=settings), "203.0.113.7", "http") == 400
