"""Hasura's GraphQL API as the handlers call it: accepted, refused, unavailable."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import respx

from leads.adapters.graphql import GraphqlClient
from leads.domain.errors import HasuraRefused, HasuraUnavailable

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


ODD: list[Any] = [
    httpx.Response(500, text="oops"),
    httpx.Response(502, json={"error": "bad gateway"}),
    httpx.Response(200, text="<html>"),
    httpx.Response(200, json=[]),
    httpx.Response(200, json={"data": None}),
    httpx.Response(200, json={"data": {"sendNotifications": None}}),
    httpx.Response(200, json={"data": {"sendNotifications": {"accepted": None, "duplicates": 0}}}),
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("slow"),
    httpx.RemoteProtocolError("cut"),
]


@respx.mock
@pytest.mark.parametrize("answer", ODD, ids=range(len(ODD)))
async def test_any_other_failure_is_unavailable_and_the_next_call_is_tried(
    graphql: GraphqlClient, answer: Any
) -> None:
    route = respx.post(f"{URL}/v1/graphql").mock(side_effect=[answer, httpx.Response(200, json=TAKEN)])
    with pytest.raises(HasuraUnavailable):
        await graphql.send_notifications([NOTIFICATION])
    assert await graphql.send_notifications([NOTIFICATION]) == {"accepted": 1, "duplicates": 2}
    assert route.call_count == 2


@respx.mock
async def test_its_health_is_the_health_of_the_engine(graphql: GraphqlClient) -> None:
    respx.get(f"{URL}/healthz").mock(
        side_effect=[httpx.Response(200), httpx.Response(500), httpx.ConnectError("x")]
    )
    assert [await graphql.is_healthy() for _ in range(3)] == [True, False, False]
