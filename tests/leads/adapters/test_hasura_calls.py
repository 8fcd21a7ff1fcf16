"""Reading the bodies that Hasura sends; all others are refused."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive

from leads.adapters.hasura_calls import MAX_ENVELOPE_BYTES, read_action, read_body, read_cron, read_event
from leads.domain.errors import BadRequest, Refused, UnknownTrigger

Read = Callable[[bytes, str], Any]
ACTION = {"action": {"name": "a"}, "input": {"x": 1}, "session_variables": {"x-hasura-role": "r"}}
EVENT = {
    "id": "e",
    "created_at": "2026-03-04T05:06:07.123456",
    "table": {"schema": "public", "name": "t"},
    "trigger": {"name": "a"},
    "event": {"op": "UPDATE", "data": {"old": {"id": 1}, "new": {"id": 1}}, "session_variables": None},
}
CRON = {
    "id": "c",
    "name": "a",
    "scheduled_time": "2026-03-04T02:15:00Z",
    "payload": {"kind": "x"},
    "comment": "y",
}


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_an_action_is_read() -> None:
    call = read_action(raw(ACTION | {"request_query": "mutation { a }"}), "a")
    assert (call.name, call.input, call.session) == ("a", {"x": 1}, {"x-hasura-role": "r"})
    assert json.loads(call.body)["input"] == {"x": 1}


def test_an_event_is_read() -> None:
    call = read_event(raw(EVENT), "a")
    assert (call.id, call.op, call.new, call.current_retry) == ("e", "UPDATE", {"id": 1}, 0)


@pytest.mark.parametrize(
    ("delivery", "retry"),
    [({"current_retry": 3, "max_retries": 20}, 3), ({"current_retry": "x"}, 0), ({}, 0), (None, 0), ([], 0)],
)
def test_an_event_says_how_often_it_was_delivered_before(delivery: object, retry: int) -> None:
    assert read_event(raw(EVENT | {"delivery_info": delivery}), "a").current_retry == retry


@pytest.mark.parametrize("payload", [{"payload": None}, {}, {"payload": {}}])
def test_a_tick_may_have_no_payload(payload: dict[str, Any]) -> None:
    tick = {key: value for key, value in CRON.items() if key not in {"payload", "comment"}}
    call = read_cron(raw(tick | payload), "a")
    assert (call.id, call.scheduled_time, call.payload) == ("c", datetime(2026, 3, 4, 2, 15, tzinfo=UTC), {})


READERS: list[tuple[Read, dict[str, Any]]] = [(read_action, ACTION), (read_event, EVENT), (read_cron, CRON)]


@pytest.mark.parametrize(("read", "body"), READERS)
def test_another_name_is_refused_as_unknown(read: Read, body: dict[str, Any]) -> None:
    with pytest.raises(UnknownTrigger):
        read(raw(body), "another")


@pytest.mark.parametrize(("read", "body"), READERS)
def test_a_missing_or_mistyped_field_is_named(read: Read, body: dict[str, Any]) -> None:
    needed = set(body) - {"created_at", "table", "payload", "comment", "request_query"}
    for key in needed:
        for bad in (None, 5, [], "" if not isinstance(body[key], str) else {}):
            with pytest.raises(Refused) as caught:
                read(raw(body | {key: bad}), "a")
            assert caught.value.status == 400
        with pytest.raises(BadRequest):
            read(raw({k: v for k, v in body.items() if k != key}), "a")


@pytest.mark.parametrize("time", ["yesterday", "2026-03-04T02:15:00", "", "2026-13-04T02:15:00Z"])
def test_a_tick_needs_a_time_with_a_zone(time: str) -> None:
    with pytest.raises(BadRequest, match="scheduled_time"):
        read_cron(raw(CRON | {"scheduled_time": time}), "a")


@pytest.mark.parametrize(("read", "body"), READERS)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(read: Read, body: dict[str, Any], data: bytes) -> None:
    with pytest.raises(Refused):
        read(data, "a")


@pytest.mark.parametrize(("read", "body"), READERS)
def test_deep_nesting_and_long_numbers_are_refused(read: Read, body: dict[str, Any]) -> None:
    for data in (b"[" * 100_000, b'{"a":' * 100_000, b'{"id": ' + b"9" * 10_000 + b"}"):
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
