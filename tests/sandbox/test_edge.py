"""The sandbox's small edge forwards Pancake's bytes to Hasura unchanged and answers Pancake."""

import base64
import json
from datetime import datetime
from hashlib import sha256

import httpx
import pytest

from sandbox.stack.edge import MAX_BODY_BYTES, create_app


class Hasura:
    """Records the calls and gives the same answer to each."""

    def __init__(self, status: int = 200, body: object = None) -> None:
        self.calls: list[httpx.Request] = []
        self._answer = (status, body)

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(request)
        return httpx.Response(self._answer[0], json=self._answer[1])

    async def post(self, content: bytes) -> httpx.Response:
        """Post to the edge in front of this Hasura."""
        app = create_app("http://hasura", "a-jwt", httpx.MockTransport(self.handle))
        transport = httpx.ASGITransport(app=app, client=("192.0.2.7", 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
            return await client.post("/api/pancake/record/the-token", content=content)


async def test_it_forwards_the_bytes_and_unwraps_the_answer() -> None:
    ack = {"status": "received", "event_id": 7, "error_code": None}
    hasura = Hasura(body={"pancake_ingest_record": ack})
    answer = await hasura.post(b'{"id": \xff')
    assert answer.json() == ack
    (call,) = hasura.calls
    sent = json.loads(call.content)
    assert call.url.path == "/api/rest/pancake/record"
    assert call.headers["authorization"] == "Bearer a-jwt"
    assert base64.b64decode(sent["raw"]) == b'{"id": \xff'
    assert sent["token_sha256"] == sha256(b"the-token").hexdigest()
    assert "the-token" not in call.content.decode()
    assert sent["source_ip"] == "192.0.2.7"
    assert datetime.fromisoformat(sent["arrived_at"]).tzinfo is not None


async def test_a_body_that_is_too_large_is_refused_without_calling_hasura() -> None:
    hasura = Hasura()
    answer = await hasura.post(b" " * (MAX_BODY_BYTES + 1))
    assert (answer.status_code, answer.json()) == (200, {"status": "too_large"})
    assert hasura.calls == []


@pytest.mark.parametrize(("status", "body"), [(500, {}), (200, {}), (400, {"error": "x", "code": "y"})])
async def test_a_delivery_that_hasura_does_not_accept_is_answered_with_502(status: int, body: object) -> None:
    answer = await Hasura(status, body).post(b"{}")
    assert answer.status_code == 502
