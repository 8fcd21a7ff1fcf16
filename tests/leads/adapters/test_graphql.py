"""Hasura's GraphQL API as the handlers call it: accepted, refused, unavailable."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import respx

from leads.adapters.graphql import GraphqlClient
from leads.domain.errors import HasuraRefused, HasuraUnavailable, HasuraUncertain

URL = "http://hasura.test"
NOTIFICATION = {"template_code": "t", "recipient_ids": ["s"], "data": {}, "idempotency_key": "1:a"}
TAKEN = {"data": {"sendNotifications": {"accepted": 1, "duplicates": 2}}}


@pytest.fixture
async def graphql() -> AsyncIterator[GraphqlClient]:
    opened = GraphqlClient(URL, "service-token")
    yield opened
    await opened.close()


@respx.mock
async def test_notifications_are_sent_with_the_token_of_the_service(graphql: GraphqlClient) -> None:
    route = respx.post(f"{URL}/v1/graphql").respond(json=TAKEN)
    assert await graphql.send_notifications([NOTIFICATION]) == {"accepted": 1, "duplicates": 2}
    request = route.calls.last.request
    assert request.headers["Authorization"] == "Bearer service-token"
    assert json.loads(request.content)["variables"] == {"notifications": [NOTIFICATION]}


@respx.mock
async def test_an_error_in_the_answer_is_a_refusal(graphql: GraphqlClient) -> None:
    error = {"errors": [{"message": "no such template", "extensions": {"path": "$", "code": "unexpected"}}]}
    respx.post(f"{URL}/v1/graphql").respond(json=error)
    with pytest.raises(HasuraRefused) as caught:
        await graphql.send_notifications([NOTIFICATION])
    assert "no such template" not in str(caught.value)


UNCERTAIN: list[Any] = [
    httpx.Response(500, text="oops"),
    httpx.Response(502, json={"error": "bad gateway"}),
    httpx.Response(504, text="gateway time-out"),
    httpx.Response(200, text="<html>"),
    httpx.Response(200, json=[]),
    httpx.Response(200, json={"data": None}),
    httpx.Response(200, json={"data": {"sendNotifications": None}}),
    httpx.Response(200, json={"data": {"sendNotifications": {"accepted": None, "duplicates": 0}}}),
    httpx.ReadTimeout("slow"),
    httpx.WriteError("cut"),
    httpx.RemoteProtocolError("cut"),
]
NOT_SENT: list[Any] = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("slow"),
    httpx.PoolTimeout("all in use"),
    httpx.Response(401, text="no"),
    httpx.Response(429, text="slow down"),
    httpx.Response(503, text="try later"),
]
FAILURES: list[tuple[type[Exception], Any]] = [(HasuraUncertain, answer) for answer in UNCERTAIN]
FAILURES += [(HasuraUnavailable, answer) for answer in NOT_SENT]


@respx.mock
@pytest.mark.parametrize(("expected", "answer"), FAILURES, ids=range(len(FAILURES)))
async def test_what_may_have_arrived_is_told_from_what_cannot_and_the_next_call_is_tried(
    graphql: GraphqlClient, expected: type[Exception], answer: Any
) -> None:
    route = respx.post(f"{URL}/v1/graphql").mock(side_effect=[answer, httpx.Response(200, json=TAKEN)])
    with pytest.raises(HasuraUnavailable) as caught:
        await graphql.send_notifications([NOTIFICATION])
    assert type(caught.value) is expected
    assert await graphql.send_notifications([NOTIFICATION]) == {"accepted": 1, "duplicates": 2}
    assert route.call_count == 2


async def answer_late(request: httpx.Request) -> httpx.Response:
    await asyncio.sleep(0.2)
    return httpx.Response(200, json=TAKEN)


@respx.mock
async def test_an_answer_that_does_not_come_in_time_is_uncertain(graphql: GraphqlClient) -> None:
    respx.post(f"{URL}/v1/graphql").mock(side_effect=answer_late)
    with pytest.raises(HasuraUncertain):
        await graphql.send_notifications([NOTIFICATION], timeout_seconds=0.05)
    assert await graphql.send_notifications([NOTIFICATION], timeout_seconds=5) == {
        "accepted": 1,
        "duplicates": 2,
    }


@respx.mock
async def test_an_error_that_takes_long_is_uncertain(
    graphql: GraphqlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hasura answers so when its own call of the service runs out of time."""

    async def refuse_late(request: httpx.Request) -> httpx.Response:
        await answer_late(request)
        return httpx.Response(200, json={"errors": [{"message": "http exception when calling webhook"}]})

    monkeypatch.setattr("leads.adapters.graphql.MAX_SECONDS_TO_REFUSE", 0.1)
    respx.post(f"{URL}/v1/graphql").mock(side_effect=refuse_late)
    with pytest.raises(HasuraUncertain):
        await graphql.send_notifications([NOTIFICATION])


LACKS_VARIABLE = 'expecting a value for non-nullable variable: "notifications"'
UNKNOWN = {"consistent": None, "allow_list": None, "notifications": None}
WARNING = "WARN: inconsistent objects in schema"


@pytest.mark.parametrize(
    ("health", "message", "expected"),
    [
        ("OK", LACKS_VARIABLE, {"consistent": True, "allow_list": True, "notifications": True}),
        (WARNING, LACKS_VARIABLE, {"consistent": False, "allow_list": True, "notifications": True}),
        ("OK", "query is not allowed", {"consistent": True, "allow_list": False, "notifications": None}),
        ("OK", "no mutations exist", {"consistent": True, "allow_list": True, "notifications": False}),
        ("OK", "field 'sendNotifications' not found in type: 'mutation_root'",
         {"consistent": True, "allow_list": True, "notifications": False}),
        ("OK", "Could not verify JWT: JWTExpired",
         {"consistent": True, "allow_list": True, "notifications": False}),
    ],
)  # fmt: skip
@respx.mock
async def test_what_the_engine_lets_us_do_is_asked_without_doing_it(
    graphql: GraphqlClient, health: str, message: str, expected: dict[str, bool | None]
) -> None:
    """The messages are those of a genuine engine."""
    respx.get(f"{URL}/healthz").respond(text=health)
    call = respx.post(f"{URL}/v1/graphql").respond(json={"errors": [{"message": message}]})
    assert await graphql.examine() == {"hasura": True, **expected}
    request = call.calls.last.request
    assert "variables" not in json.loads(request.content)
    assert request.headers["Authorization"] == "Bearer service-token"


@pytest.mark.parametrize(
    "answer", [httpx.Response(200, json={}), httpx.Response(502, text="<html>"), httpx.ConnectError("x")]
)
@respx.mock
async def test_of_an_engine_that_does_not_answer_nothing_more_is_said(
    graphql: GraphqlClient, answer: Any
) -> None:
    respx.get(f"{URL}/healthz").respond(text="OK")
    respx.post(f"{URL}/v1/graphql").mock(side_effect=[answer])
    assert await graphql.examine() == {"hasura": False, **UNKNOWN}
