"""Every route of the handlers without the secret of its caller: 401 before the body is read."""

import pytest

from app import HASURA_ROUTES
from tests.support.handlers import HandlerHarness
from tests.support.settings import EDGE_SECRET, HANDLER_SECRET

pytestmark = pytest.mark.anyio

FORGED: dict[str, list[tuple[bytes, bytes]]] = {
    "nothing": [],
    "an empty secret": [(b"X-Handler-Secret", b"")],
    "another secret": [(b"X-Handler-Secret", b"x" * 32)],
    "a secret without its end": [(b"X-Handler-Secret", HANDLER_SECRET[:-1].encode())],
    "a secret with more": [(b"X-Handler-Secret", HANDLER_SECRET.encode() + b"x")],
    "a secret in capitals": [(b"X-Handler-Secret", HANDLER_SECRET.upper().encode())],
    "a secret in quotes": [(b"X-Handler-Secret", f'"{HANDLER_SECRET}"'.encode())],
    "a secret after another": [(b"X-Handler-Secret", b"x"), (b"X-Handler-Secret", HANDLER_SECRET.encode())],
    "two secrets in one header": [(b"X-Handler-Secret", f"x,{HANDLER_SECRET}".encode())],
    "bytes that are not ASCII": [(b"X-Handler-Secret", b"\xff\xfe")],
    "a NUL": [(b"X-Handler-Secret", HANDLER_SECRET.encode() + b"\0")],
    "the edge's secret as Hasura's": [(b"X-Handler-Secret", EDGE_SECRET.encode())],
    "Hasura's secret as the edge's": [(b"X-Edge-Secret", HANDLER_SECRET.encode())],
    "a secret as a bearer": [(b"Authorization", f"Bearer {HANDLER_SECRET}".encode())],
    "a secret as a cookie": [(b"Cookie", f"X-Handler-Secret={HANDLER_SECRET}".encode())],
    "a secret under another name": [(b"X_Handler_Secret", HANDLER_SECRET.encode())],
    "headers of Hasura": [(b"X-Hasura-Admin-Secret", b"x"), (b"X-Hasura-Role", b"admin")],
}
TABLES = ("pancake_webhook_event", "pancake_cron_run")
CALLS = [*((route.path, "POST") for route in HASURA_ROUTES), ("/edge/policy", "GET")]


@pytest.mark.parametrize("name", FORGED)
async def test_a_route_without_its_secret_does_nothing(harness: HandlerHarness, name: str) -> None:
    """On every route, with a body that is no JSON: the answer names no reason and nothing is stored."""
    for path, method in CALLS:
        answer = await harness.client.request(method, path, content=b"{", headers=FORGED[name])
        assert (answer.status_code, answer.json()["extensions"]["code"]) == (401, "unauthorized"), path
    assert [harness.count(table) for table in TABLES] == [0, 0]


@pytest.mark.parametrize("path", [route.path for route in HASURA_ROUTES if not route.allows_edge])
async def test_the_edge_may_call_no_other_route(harness: HandlerHarness, path: str) -> None:
    headers = {"X-Edge-Secret": EDGE_SECRET}
    assert (await harness.client.post(path, content=b"{", headers=headers)).status_code == 401


async def test_hasura_does_not_get_the_policy(harness: HandlerHarness) -> None:
    headers = {"X-Handler-Secret": HANDLER_SECRET}
    assert (await harness.client.get("/edge/policy", headers=headers)).status_code == 401
