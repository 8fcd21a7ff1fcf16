"""The request bodies of Hasura's actions, event triggers and cron triggers, read strictly.

Shapes: Hasura GraphQL Engine v2 documentation, "Event trigger payload", "Action handlers", "Cron triggers".
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.types import Receive

from leads.adapters.tracing import TraceContext, read_context
from leads.domain.errors import BadRequest, UnknownTrigger

Answer = dict[str, Any]
"""What a handler answers with status 200: a JSON object."""
MAX_ENVELOPE_BYTES = 1024 * 1024
_KINDS: Mapping[type[Any], str] = {dict: "an object", str: "text"}


@dataclass(frozen=True, slots=True)
class ActionCall:
    """One execution of an action. `body` keeps the bytes, which hold numbers as they were written."""

    input: Mapping[str, Any]
    session: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class EventCall:
    """One delivery of an event. `id` is the same on every retry and redelivery.

    `current_retry`: how often the event was delivered before, without success, since it was fired or, in the
    console, redelivered. `user_id`: X-Hasura-User-Id of the session that fired it. `trace`: that of the
    request that changed the row, if Hasura served it.
    """

    id: str
    op: str
    new: Mapping[str, Any]
    current_retry: int = 0
    user_id: str | None = None
    trace: TraceContext | None = None

    @property
    def is_by_hand(self) -> bool:
        """Whether a person invoked the trigger, instead of a change of the row."""
        return self.op == "MANUAL"


@dataclass(frozen=True, slots=True)
class CronCall:
    """One delivery of a cron trigger's tick, which (name, scheduled_time) identifies on every redelivery."""

    id: str
    name: str
    scheduled_time: datetime
    payload: Mapping[str, Any]


async def read_body(receive: Receive) -> bytes:
    """Read the whole body of an ASGI request.

    Raises BadRequest as soon as it is longer than MAX_ENVELOPE_BYTES, or if the client leaves before its end.
    """
    chunks: list[bytes] = []
    length, has_more = 0, True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The body is not complete: the client closed the connection.")
        chunk, has_more = message.get("body", b""), message.get("more_body", False)
        length += len(chunk)
        if length > MAX_ENVELOPE_BYTES:
            raise BadRequest(f"The body is longer than {MAX_ENVELOPE_BYTES} bytes.")
        chunks.append(chunk)
    return b"".join(chunks)


def read_action(body: bytes, name: str) -> ActionCall:
    """Read an action's envelope. Raises BadRequest or UnknownTrigger."""
    envelope = _object(body)
    _expect_name(_get(envelope, "action", dict), name)
    session = _get(envelope, "session_variables", dict)
    return ActionCall(_get(envelope, "input", dict), session, body)


def read_event(body: bytes, name: str) -> EventCall:
    """Read an event trigger's delivery. Raises BadRequest or UnknownTrigger."""
    envelope = _object(body)
    _expect_name(_get(envelope, "trigger", dict), name)
    event = _get(envelope, "event", dict)
    new = _get(_get(event, "data", dict), "new", dict)
    session = event.get("session_variables")
    user_id = session.get("x-hasura-user-id") if isinstance(session, dict) else None
    return EventCall(
        id=_get(envelope, "id", str),
        op=_get(event, "op", str),
        new=new,
        current_retry=_current_retry(envelope),
        user_id=user_id if isinstance(user_id, str) else None,
        trace=read_context(event.get("trace_context")),
    )


def read_cron(body: bytes, name: str) -> CronCall:
    """Read a cron trigger's delivery. Raises BadRequest or UnknownTrigger."""
    envelope = _object(body)
    _expect_name(envelope, name)
    text = _get(envelope, "scheduled_time", str)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest("scheduled_time is not an ISO 8601 time.") from error
    if time.tzinfo is None:
        raise BadRequest("scheduled_time names no time zone.")
    payload = envelope.get("payload") or {}
    if not isinstance(payload, dict):
        raise BadRequest("payload is not an object.")
    return CronCall(_get(envelope, "id", str), name, time, payload)


def _current_retry(envelope: Mapping[str, Any]) -> int:
    """Read `delivery_info`; without it the delivery counts as the first."""
    delivery = envelope.get("delivery_info")
    retry = delivery.get("current_retry") if isinstance(delivery, dict) else None
    if isinstance(retry, int) and not 0 <= retry < 2**31:
        raise BadRequest("delivery_info.current_retry is not a number of retries.")
    return retry if isinstance(retry, int) else 0


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
        if b"\\u" in body:  # half a pair of surrogates is JSON, and no text
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is not JSON.") from error
    if not isinstance(value, dict):
        raise BadRequest("The body is not a JSON object.")
    return value


def _get(holder: Mapping[str, Any], key: str, kind: type[Any]) -> Any:
    value = holder.get(key)
    if not isinstance(value, kind):
        raise BadRequest(f"{key} is missing or not {_KINDS[kind]}.")
    return value


def _expect_name(holder: Mapping[str, Any], name: str) -> None:
    given = _get(holder, "name", str)
    if given != name:
        raise UnknownTrigger(f"This route serves {name}, not {given[:100]!a}.")
