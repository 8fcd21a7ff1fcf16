"""No input of a handler, however large, holds the process: a call has MAX_CPU_SECONDS of processor time."""

import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

import pytest

from app import HASURA_ROUTES
from leads.domain.canonical_json import MAX_BODY_BYTES
from tests.support.handlers import HandlerHarness
from tests.support.leads import LEAD
from tests.support.settings import ADMIN_ID, WEBHOOK_TOKEN_SHA256
from tests.support.suites import IS_FULL

pytestmark = pytest.mark.anyio

INPUT_BYTES = 400_000
MAX_CPU_SECONDS = 0.5
"""Reading INPUT_BYTES takes a tenth of it; what grows with the square of the length ten times as much."""
MAX_TRIES = 5
"""The time of the fastest of these counts, since other work on the machine makes a call slower."""
MAX_ANSWER_BYTES = 2000
SEEDS = (
    "0905111222", "+", "…", "- ", "1", "a.", "2026-05-14T02:35", "%25:/?#[]@", "é ", "\u202e",
    "0065 9123 456 ", "2026-05-14T02:35" + " " * 900_000 + "x", "\ufdfa", '{"a":[', "\u0000",
)  # fmt: skip
FIELDS = (
    "id", "table_id", "name", "phone_number", "secondary_phone_number", "email", "full_address", "source",
    "pancake_tags", "interested_product", "modified_on", "created_on", "action", "event_type", "note",
)  # fmt: skip
SESSION = {"x-hasura-role": "crm_admin", "x-hasura-user-id": ADMIN_ID}


def texts(max_bytes: int) -> Iterator[str]:
    """Yield a text of each seed that has about that many bytes in JSON."""
    for seed in SEEDS:
        written = len(json.dumps(seed)) - 2
        yield (seed * (max_bytes // written + 1))[: max_bytes * len(seed) // written]


def values(max_bytes: int) -> Iterator[Any]:
    """Yield large values: texts, and the lists and objects that a field of Pancake may be."""

    def items(text: str) -> list[str]:
        return [text[: len(text) // 100]] * 90

    def objects(text: str) -> list[dict[str, str]]:
        return [{"id": text[: len(text) // 200], "name": text[: len(text) // 200]}] * 90

    shapes: Iterator[Callable[[str], Any]] = cycle((str, str, items, objects))
    for text in texts(max_bytes):
        yield next(shapes)(text)
    yield [1] * (max_bytes // 4)
    yield [[]] * (max_bytes // 4)
    yield {f"{n:x}": n for n in range(max_bytes // 20)}


async def call(harness: HandlerHarness, path: str, envelope: dict[str, Any]) -> None:
    """Post the envelope; it takes little processor time, and the answer is short and no internal error."""
    body = json.dumps(envelope).encode()
    for _ in range(MAX_TRIES):
        start = time.thread_time()
        response = await harness.client.post(path, content=body, headers=harness.headers)
        seconds = time.thread_time() - start
        assert response.status_code != 500, (path, response.text[:300])
        assert len(response.content) < MAX_ANSWER_BYTES, path
        if seconds < MAX_CPU_SECONDS:
            return
    pytest.fail(f"{path} took {seconds:.2f} s for {len(body)} bytes beginning with {body[:200]!r}")


def action(name: str, input_: dict[str, Any], session: dict[str, str] = SESSION) -> dict[str, Any]:
    return {"action": {"name": f"pancake_{name}"}, "input": input_, "session_variables": session}


async def test_an_argument_of_ingest_of_any_size(harness: HandlerHarness) -> None:
    for value in values(INPUT_BYTES):
        given = {"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": "e30=", "source_ip": "203.0.113.7"}
        for name in ("token_sha256", "raw", "source_ip", "arrived_at", "unknown"):
            await call(harness, "/actions/ingest_record", action("ingest_record", given | {name: value}))


@pytest.mark.parametrize("field", [*FIELDS, "pancake_customer_obj"])
async def test_a_record_with_a_field_of_any_size_is_stored_and_processed(
    harness: HandlerHarness, field: str
) -> None:
    of_this_field = values(MAX_BODY_BYTES - 1000)
    if not IS_FULL:  # each value in a third of the fields
        of_this_field = islice(of_this_field, len(field) % 3, None, 3)
    for value in of_this_field:
        held = {"phone_numbers": value} if field == "pancake_customer_obj" else value
        raw = b64encode(json.dumps(LEAD | {field: held}).encode()).decode()
        given = {"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": raw}
        await call(harness, "/actions/ingest_record", action("ingest_record", given))
    for row in harness.sql("SELECT id FROM pancake_webhook_event WHERE status = 'received'"):
        event = {"op": "INSERT", "data": {"old": None, "new": {"id": row["id"]}}}
        trigger = {"name": "pancake_webhook_event_status_update"}
        await call(harness, "/events/process_record", {"id": "1", "trigger": trigger, "event": event})


async def test_an_argument_of_replay_of_any_size(harness: HandlerHarness) -> None:
    path = "/actions/replay_events"
    for value in values(INPUT_BYTES):
        name = value if isinstance(value, str) else "unknown"
        given: list[dict[str, Any]] = [
            {"ids": [value]}, {"ids": value}, {"ids": [1], "corrected_phone": value},
            {"ids": [1], name: 1}, {"filter": {name: 1, "status": "failed"}}, {"filter": value},
            {"ids": [1], "wait": value}, {"ids": [1], "force": value},
            *({"filter": {"error_code": "x", field: value}}
              for field in ("status", "error_code", "source_id", "from", "to", "limit")),
        ]  # fmt: skip
        for input_ in given:
            await call(harness, path, action("replay_events", input_ | {"dry_run": True}))
        if isinstance(value, str):
            session = SESSION | {"x-hasura-user-id": value.replace("\0", "")}
            await call(harness, path, action("replay_events", {"ids": [1]}, session))


@pytest.mark.parametrize("route", HASURA_ROUTES, ids=lambda route: route.name)
async def test_an_envelope_with_a_key_of_any_size(harness: HandlerHarness, route: Any) -> None:
    """Keys of the three kinds of envelopes, one at a time. A cron then does not run."""
    event = {"op": "INSERT", "data": {"old": None, "new": {"id": 1}}}
    sound = action(route.name.removeprefix("pancake_"), {}) | {
        "id": "1", "name": route.name, "trigger": {"name": route.name}, "event": event,
        "scheduled_time": "2026-05-14T02:35:56", "payload": {"day": "2026-05-14"},
    }  # fmt: skip
    for value in list(values(INPUT_BYTES))[::3]:
        for change in (
            {"name": value, "trigger": {"name": value}, "action": {"name": value}},
            {"scheduled_time": value}, {"payload": value}, {"session_variables": value}, {"input": value},
            {"event": value}, {"event": event | {"op": value}},
            {"event": event | {"data": {"new": {"id": value}}}},
            {"delivery_info": {"current_retry": value}},
        ):  # fmt: skip
            await call(harness, route.path, sound | change)


async def test_the_day_of_a_reconciliation_of_any_size(harness: HandlerHarness) -> None:
    for value in values(INPUT_BYTES):
        tick = {"id": "1", "name": "pancake_reconcile_daily", "scheduled_time": "2026-05-14T02:35:56Z"}
        await call(harness, "/cron/reconcile_daily", tick | {"payload": {"day": value}})
