"""The stand-in of Diva's notification service."""

from typing import Any

import httpx

from sandbox.diva.notifications import create_app


def _client() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=create_app())
    return httpx.AsyncClient(transport=transport, base_url="http://notifications")


def _call(*keys: str) -> dict[str, Any]:
    notifications = [
        {"template_code": "noti", "recipient_ids": ["a"], "data": {}, "idempotency_key": key} for key in keys
    ]
    return {
        "action": {"name": "sendNotifications"},
        "input": {"notifications": notifications},
        "session_variables": {"x-hasura-role": "pancake_service"},
        "request_query": "mutation { sendNotifications }",
    }


async def test_a_repeated_key_is_a_duplicate() -> None:
    async with _client() as client:
        first = await client.post("/actions/sendNotifications", json=_call("1", "2"))
        second = await client.post("/actions/sendNotifications", json=_call("2", "3"))
        sent = (await client.get("/sent")).json()
    assert first.json() == {"accepted": 2, "duplicates": 0}
    assert second.json() == {"accepted": 1, "duplicates": 1}
    assert [item["idempotency_key"] for item in sent["sent"]] == ["1", "2", "3"]


async def test_it_can_be_configured_to_ignore_keys() -> None:
    async with _client() as client:
        await client.post("/control", json={"ignore_keys": True})
        answer = await client.post("/actions/sendNotifications", json=_call("1", "1"))
    assert answer.json() == {"accepted": 2, "duplicates": 0}


async def test_it_fails_as_often_as_configured() -> None:
    async with _client() as client:
        await client.post("/control", json={"fail": 1, "fail_after_accepting": 1})
        codes = [
            (await client.post("/actions/sendNotifications", json=_call(key))).status_code for key in "123"
        ]
        sent = (await client.get("/sent")).json()["sent"]
    assert codes == [500, 500, 200]
    assert [item["idempotency_key"] for item in sent] == ["2", "3"]


async def test_another_envelope_is_refused() -> None:
    async with _client() as client:
        bodies: list[Any] = [{}, [], {"action": {"name": "other"}, "input": {}}]
        for body in bodies:
            answer = await client.post("/actions/sendNotifications", json=body)
            assert answer.status_code == 400
            assert "message" in answer.json()


async def test_an_unknown_fault_is_refused() -> None:
    async with _client() as client:
        assert (await client.post("/control", json={"explode": True})).status_code == 400
