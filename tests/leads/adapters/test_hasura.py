"""Hasura: its bodies as we read them, its GraphQL as the handlers call it, its admin APIs."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.types import Message, Receive

from leads.adapters.graphql import GraphqlClient
from leads.adapters.hasura_calls import MAX_ENVELOPE_BYTES, read_action, read_body, read_cron, read_event
from leads.domain.errors import (
    BadRequest,
    HasuraRefused,
    HasuraUnavailable,
    HasuraUncertain,
    Refused,
    UnknownTrigger,
)
from ops.clients.hasura_admin import MAX_IDLE_SECONDS, RequestRefused
from ops.clients.hasura_admin import Engine as EngineClient

Read = Callable[[bytes, str], Any]
ACTION = {"action": {"name": "a"}, "input": {"x": 1}, "session_variables": {"x-hasura-role": "r"}}
EVENT = {
    "id": "e", "created_at": "2026-03-04T05:06:07.123456", "table": {"schema": "public", "name": "t"},
    "trigger": {"name": "a"},
    "event": {"op": "UPDATE", "data": {"old": {"id": 1}, "new": {"id": 1}}, "session_variables": None},
}  # fmt: skip
CRON = {
    "id": "c", "name": "a", "scheduled_time": "2026-03-04T02:15:00Z", "payload": {"kind": 1}, "comment": "y",
}  # fmt: skip


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_an_action_is_read() -> None:
    call = read_action(raw(ACTION | {"request_query": "mutation { a }"}), "a")
    assert (call.input, call.session) == ({"x": 1}, {"x-hasura-role": "r"})
    assert json.loads(call.body)["input"] == {"x": 1}


def test_an_event_is_read_and_says_how_often_it_was_delivered_before() -> None:
    call = read_event(raw(EVENT), "a")
    assert (call.id, call.op, call.new, call.current_retry) == ("e", "UPDATE", {"id": 1}, 0)
    delivered: list[tuple[object, int]] = [({"current_retry": 3, "max_retries": 20}, 3)]
    for delivery, retry in (*delivered, ({"current_retry": "x"}, 0), ({}, 0), (None, 0), ([], 0)):
        assert read_event(raw(EVENT | {"delivery_info": delivery}), "a").current_retry == retry


def test_a_tick_may_have_no_payload_and_needs_a_time_with_a_zone() -> None:
    tick = {key: value for key, value in CRON.items() if key not in {"payload", "comment"}}
    payloads: tuple[dict[str, Any], ...] = ({"payload": None}, {}, {"payload": {}})
    for payload in payloads:
        call = read_cron(raw(tick | payload), "a")
        assert (call.id, call.payload) == ("c", {})
        assert call.scheduled_time == datetime(2026, 3, 4, 2, 15, tzinfo=UTC)
    for scheduled in ("yesterday", "2026-03-04T02:15:00", "", "2026-13-04T02:15:00Z"):
        with pytest.raises(BadRequest, match="scheduled_time"):
            read_cron(raw(CRON | {"scheduled_time": scheduled}), "a")


READERS: list[tuple[Read, dict[str, Any]]] = [(read_action, ACTION), (read_event, EVENT), (read_cron, CRON)]


@pytest.mark.parametrize(("read", "body"), READERS)
def test_another_name_and_a_missing_or_mistyped_field_are_refused(read: Read, body: dict[str, Any]) -> None:
    with pytest.raises(UnknownTrigger):
        read(raw(body), "another")
    for key in set(body) - {"created_at", "table", "payload", "comment"}:
        for bad in (None, 5, [], "" if not isinstance(body[key], str) else {}):
            with pytest.raises(Refused) as caught:
                read(raw(body | {key: bad}), "a")
            assert caught.value.status == 400
        with pytest.raises(BadRequest):
            read(raw({k: v for k, v in body.items() if k != key}), "a")


@pytest.mark.parametrize("read", [read_action, read_event, read_cron])
@given(data=st.binary(max_size=60))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b'{"id": ' + b"9" * 10_000 + b"}")
def test_any_bytes_deep_nesting_and_long_numbers_are_refused(read: Read, data: bytes) -> None:
    with pytest.raises(Refused):
        read(data, "a")


def sending(*chunks: bytes, ends: bool = True) -> Receive:
    """An ASGI client that sends a body in chunks, and breaks off unless it `ends`."""
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": not ends or number < len(chunks)}
        for number, chunk in enumerate(chunks, 1)
    ]
    messages.append({"type": "http.disconnect"})
    left = iter(messages)

    async def receive() -> Message:
        return next(left)

    return receive


async def test_a_body_is_read_to_its_end_and_no_further_than_the_limit() -> None:
    assert await read_body(sending(b"a", b"", b"bc")) == b"abc"
    assert len(await read_body(sending(b"x" * MAX_ENVELOPE_BYTES))) == MAX_ENVELOPE_BYTES
    with pytest.raises(BadRequest):
        await read_body(sending(b"x" * MAX_ENVELOPE_BYTES, b"y", ends=False))
    with pytest.raises(BadRequest, match="not complete"):
        await read_body(sending(b"a", ends=False))


URL = "http://hasura.test"
NOTIFICATION = {"template_code": "t", "recipient_ids": ["s"], "data": {}, "idempotency_key": "1:a"}
TAKEN = {"data": {"sendNotifications": {"accepted": 1, "duplicates": 2}}}


class Engine:
    """Stands for Hasura: gives its answers to GraphQL one after the other, each `after_seconds`."""

    def __init__(self) -> None:
        self.health, self.after_seconds = "OK", 0.0
        self.answers: list[httpx.Response | Exception] = []
        self.requests: list[httpx.Request] = []

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/healthz":
            return httpx.Response(200, text=self.health)
        self.requests.append(request)
        answer = self.answers.pop(0)
        await asyncio.sleep(self.after_seconds)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    started = Engine()
    answer = httpx.MockTransport(started.answer).handle_async_request
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer)
    return started


@pytest.fixture
async def graphql(engine: Engine) -> AsyncIterator[GraphqlClient]:
    opened = GraphqlClient(URL, "service-token")
    yield opened
    await opened.close()


async def test_notifications_are_sent_with_the_token_of_the_service(
    graphql: GraphqlClient, engine: Engine
) -> None:
    engine.answers.append(httpx.Response(200, json=TAKEN))
    assert await graphql.send_notifications([NOTIFICATION]) == {"accepted": 1, "duplicates": 2}
    (request,) = engine.requests
    assert request.url == f"{URL}/v1/graphql"
    assert request.headers["Authorization"] == "Bearer service-token"
    assert json.loads(request.content)["variables"] == {"notifications": [NOTIFICATION]}


async def test_an_error_in_the_answer_is_a_refusal(graphql: GraphqlClient, engine: Engine) -> None:
    error = {"errors": [{"message": "no such template", "extensions": {"path": "$", "code": "unexpected"}}]}
    engine.answers.append(httpx.Response(200, json=error))
    with pytest.raises(HasuraRefused) as caught:
        await graphql.send_notifications([NOTIFICATION])
    assert "no such template" not in str(caught.value)


UNCERTAIN: list[httpx.Response | Exception] = [
    httpx.Response(500, text="oops"),
    httpx.Response(502, json={"error": "bad gateway"}),
    httpx.Response(504, text="gateway time-out"),
    httpx.Response(200, text="<html>"),
    httpx.Response(200, json=[]),
    *(
        httpx.Response(200, json={"data": data})
        for data in (
            None,
            {"sendNotifications": None},
            {"sendNotifications": {"accepted": None, "duplicates": 0}},
        )
    ),
    *(error("cut") for error in (httpx.ReadTimeout, httpx.WriteError, httpx.RemoteProtocolError)),
]
NOT_SENT: list[httpx.Response | Exception] = [
    *(error("no") for error in (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)),
    *(httpx.Response(status, text="no") for status in (401, 429, 503)),
]
FAILURES: list[tuple[type[Exception], Any]] = [(HasuraUncertain, answer) for answer in UNCERTAIN]
FAILURES += [(HasuraUnavailable, answer) for answer in NOT_SENT]


@pytest.mark.parametrize(("expected", "answer"), FAILURES, ids=range(len(FAILURES)))
async def test_what_may_have_arrived_differs_from_what_cannot_and_the_next_call_is_tried(
    graphql: GraphqlClient, engine: Engine, expected: type[Exception], answer: Any
) -> None:
    engine.answers = [answer, httpx.Response(200, json=TAKEN)]
    with pytest.raises(HasuraUnavailable) as caught:
        await graphql.send_notifications([NOTIFICATION])
    assert type(caught.value) is expected
    assert await graphql.send_notifications([NOTIFICATION]) == {"accepted": 1, "duplicates": 2}
    assert len(engine.requests) == 2


async def test_what_does_not_come_in_time_is_uncertain_also_an_error_that_takes_long(
    graphql: GraphqlClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hasura answers with an error when its own call of the service runs out of time."""
    late = {"errors": [{"message": "http exception when calling webhook"}]}
    engine.answers = [httpx.Response(200, json=body) for body in (TAKEN, TAKEN, late)]
    engine.after_seconds = 0.2
    monkeypatch.setattr("leads.adapters.graphql.SEND_TIMEOUT_SECONDS", 0.05)
    with pytest.raises(HasuraUncertain):
        await graphql.send_notifications([NOTIFICATION])
    monkeypatch.setattr("leads.adapters.graphql.SEND_TIMEOUT_SECONDS", 5)
    assert await graphql.send_notifications([NOTIFICATION]) == {"accepted": 1, "duplicates": 2}
    monkeypatch.setattr("leads.adapters.graphql.MAX_SECONDS_TO_REFUSE", 0.1)
    with pytest.raises(HasuraUncertain):
        await graphql.send_notifications([NOTIFICATION])


LACKS_VARIABLE = 'expecting a value for non-nullable variable: "notifications"'
WARNING = "WARN: inconsistent objects in schema"
PARTS = ("consistent", "allow_list", "notifications")


@pytest.mark.parametrize(
    ("health", "message", "expected"),
    [
        ("OK", LACKS_VARIABLE, (True, True, True)),
        (WARNING, LACKS_VARIABLE, (False, True, True)),
        ("OK", "query is not allowed", (True, False, None)),
        ("OK", "no mutations exist", (True, True, False)),
        ("OK", "field 'sendNotifications' not found in type: 'mutation_root'", (True, True, False)),
        ("OK", "Could not verify JWT: JWTExpired", (True, True, False)),
    ],
)
async def test_what_the_engine_lets_us_do_is_asked_without_doing_it(
    graphql: GraphqlClient, engine: Engine, health: str, message: str, expected: tuple[bool | None, ...]
) -> None:
    """The messages are those of a genuine engine."""
    engine.health = health
    engine.answers.append(httpx.Response(200, json={"errors": [{"message": message}]}))
    state = await graphql.probe()
    assert [state[part] for part in ("hasura", *PARTS)] == [True, *expected]
    (request,) = engine.requests
    assert "variables" not in json.loads(request.content)
    assert request.headers["Authorization"] == "Bearer service-token"


async def test_of_an_engine_that_does_not_answer_nothing_more_is_said(
    graphql: GraphqlClient, engine: Engine, subtests: pytest.Subtests
) -> None:
    for answer in (httpx.Response(200, json={}), httpx.Response(502, text="<html>"), httpx.ConnectError("x")):
        with subtests.test(answer=answer):
            engine.answers.append(answer)
            assert await graphql.probe() == {"hasura": False} | dict.fromkeys(PARTS)


def answering(status: int, **body: Any) -> EngineClient:
    """A client whose every request gets this answer."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status, **body))
    return EngineClient("http://hasura/", "the-secret", transport=transport)


def test_a_refusal_keeps_the_code_of_the_engine_and_its_details() -> None:
    internal = [{"name": "table x", "reason": "no such table"}]
    body = {"code": "unexpected", "error": "bad", "internal": internal}
    text = "export_metadata: unexpected: bad; table x: no such table"
    with pytest.raises(RequestRefused, match=text) as error:
        answering(400, json=body).export()
    assert error.value.code == "unexpected"
    with pytest.raises(RequestRefused, match="at the same time") as error:
        answering(409, json={"code": "conflict", "error": "version"}).export()
    assert error.value.code == "conflict"


@pytest.mark.parametrize(
    ("status", "body"),
    [(502, {"text": "<html>"}), (200, {"text": "<html>"}), (200, {"json": []}), (500, {"json": {}})],
)
def test_what_is_no_answer_of_hasura_is_unavailable(status: int, body: dict[str, Any]) -> None:
    with pytest.raises(HasuraUnavailable, match="http://hasura/v1/metadata does not answer as Hasura does"):
        answering(status, **body).export()
    with pytest.raises(HasuraUnavailable, match="http://hasura/v1/graphql does not answer as Hasura does"):
        answering(status, **body).graphql("query { a }", {})
    with EngineClient("nonsense", "the-secret") as hasura, pytest.raises(HasuraUnavailable):
        hasura.export()


def test_a_connection_that_was_idle_is_not_used_again() -> None:
    """A server may be closing it: then the request is lost, and no answer says whether it was done."""
    ports: list[int] = []

    class Version(BaseHTTPRequestHandler):
        protocol_version, wbufsize = "HTTP/1.1", -1

        def do_GET(self) -> None:
            ports.append(self.client_address[1])
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Version) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with EngineClient(f"http://127.0.0.1:{server.server_port}", "the-secret") as hasura:
            hasura.version()
            hasura.version()
            time.sleep(MAX_IDLE_SECONDS + 0.1)
            hasura.version()
        server.shutdown()
    assert (len(set(ports[:2])), len(set(ports)), MAX_IDLE_SECONDS < 5) == (1, 2, True)


def test_the_events_of_several_crons_are_counted_in_one_request() -> None:
    counts = [{"count": 1}, {"count": 0}]
    assert answering(200, json=counts).future_events(["a", "b"]) == {"a": 1, "b": 0}
    assert answering(200, json=counts[0]).future_events(["a", "b"]) == {"a": 1, "b": 1}, "each alone"
