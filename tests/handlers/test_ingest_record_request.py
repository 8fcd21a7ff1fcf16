"""ingest_record's request: callers, malformed and hostile input."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from tests.support.handlers import HandlerHarness
from tests.support.leads import LEAD
from tests.support.settings import (
    EDGE_SECRET,
    HANDLER_SECRET,
    PREVIOUS_HANDLER_SECRET,
    WEBHOOK_TOKEN,
    WEBHOOK_TOKEN_SHA256,
)


async def test_a_payload_is_accepted_instead_of_raw_bytes_and_keeps_its_numbers(
    harness: HandlerHarness,
) -> None:
    response = await harness.call_action(
        {"token_sha256": WEBHOOK_TOKEN_SHA256, "payload": LEAD | {"n": 2**64 + 1}}
    )
    event = harness.event(response.json()["event_id"])
    assert response.json()["status"] == "received"
    assert event["payload"]["n"] == 2**64 + 1
    assert (await harness.deliver(LEAD | {"n": 2**64 + 1}))["status"] == "duplicate"


RAW = base64.b64encode(b"{}").decode()


MALFORMED: list[dict[str, Any]] = [
    {},
    {"token_sha256": WEBHOOK_TOKEN_SHA256},
    {"raw": RAW},
    {"token": WEBHOOK_TOKEN, "raw": RAW},
    {"token": WEBHOOK_TOKEN, "token_sha256": WEBHOOK_TOKEN_SHA256, "raw": RAW},
    {"token_sha256": None, "raw": RAW},
    {"token_sha256": "", "raw": RAW},
    {"token_sha256": 5, "raw": RAW},
    {"token_sha256": [WEBHOOK_TOKEN_SHA256], "raw": RAW},
    {"token_sha256": WEBHOOK_TOKEN_SHA256 + "0", "raw": RAW},
    {"token_sha256": "x" * 64, "raw": RAW},
    {"token_sha256": " ".join(["00"] * 21) + "00", "raw": RAW},
    {"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": RAW, "payload": {}},
    {"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": None, "payload": None},
    {"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": "*** no base64 ***"},
    {"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": "é"},
    {"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": 5},
    {"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": {"a": 1}},
    {"token_sha256": WEBHOOK_TOKEN_SHA256, "payload": []},
    {"token_sha256": WEBHOOK_TOKEN_SHA256, "payload": "text"},
]


async def test_a_token_is_refused_with_what_to_send_instead(harness: HandlerHarness) -> None:
    response = await harness.call_action({"token": WEBHOOK_TOKEN, "raw": RAW})
    assert response.json()["message"] == (
        "token is not accepted, since logs would show it."
        " Give token_sha256, its SHA-256 in hexadecimal digits."
    )
    upper = {"token_sha256": WEBHOOK_TOKEN_SHA256.upper(), "raw": RAW}
    assert (await harness.call_action(upper)).json()["status"] == "dead_letter"


async def test_a_path_with_a_slash_at_its_end_is_not_found(harness: HandlerHarness) -> None:
    """A redirect would make the caller send its secret again."""
    for path in ("/actions/ingest_record/", "/edge/policy/", "/healthz/"):
        method = "POST" if path.startswith("/actions") else "GET"
        response = await harness.client.request(method, path, headers=harness.headers)
        assert response.status_code == 404, path


async def test_malformed_input_is_answered_with_400(harness: HandlerHarness) -> None:
    for input_ in MALFORMED:
        response = await harness.call_action(input_)
        assert response.status_code == 400, input_
        assert response.json()["extensions"] == {"code": "bad_request"}
        assert response.json()["message"]
    assert harness.count("pancake_webhook_event") == 0


ADDRESSES: list[tuple[object, str | None]] = [
    ("192.0.2.1", "192.0.2.1"),
    ("2001:db8::1", "2001:db8::1"),
    ("fe80::1%eth0", "fe80::1"),
    ("not an address", None),
    ("192.0.2.1/24", None),
    ("", None),
    (None, None),
    (5, None),
    ({"a": 1}, None),
    ("192.0.2.1'; DROP TABLE ticket", None),
]


async def test_an_invalid_source_address_does_not_reject_the_delivery(harness: HandlerHarness) -> None:
    for n, (source_ip, stored) in enumerate(ADDRESSES):
        found = await harness.deliver(LEAD | {"id": f"r-{n}"}, source_ip=source_ip)
        event = harness.event(found["event_id"])
        assert (str(event["source_ip"]) if event["source_ip"] else None) == stored, source_ip


async def test_an_invalid_time_of_arrival_counts_as_now(harness: HandlerHarness) -> None:
    odd: list[object] = [None, "", "yesterday", 5, [], "0001-01-01T00:00:00Z", "\ud800"]
    for n, arrived_at in enumerate(odd):
        found = await harness.deliver(LEAD | {"id": f"r-{n}"}, arrived_at=arrived_at)
        event = harness.event(found["event_id"])
        assert abs(event["arrived_at"] - datetime.now(UTC)) < timedelta(minutes=1)


CALLERS: list[tuple[dict[str, str], int]] = [
    ({}, 401),
    ({"X-Handler-Secret": ""}, 401),
    ({"X-Handler-Secret": "wrong"}, 401),
    ({"X-Handler-Secret": HANDLER_SECRET[:-1]}, 401),
    ({"X-Handler-Secret": EDGE_SECRET}, 401),
    ({"X-Edge-Secret": HANDLER_SECRET}, 401),
    ({"X-Edge-Secret": "é"}, 401),
    (
        {"Authorization": f"Bearer {HANDLER_SECRET}", "X-Hasura-Role": "admin", "X-Hasura-Admin-Secret": "x"},
        401,
    ),
    ({"X-Handler-Secret": HANDLER_SECRET}, 200),
    ({"X-Handler-Secret": PREVIOUS_HANDLER_SECRET}, 200),
    ({"X-Edge-Secret": EDGE_SECRET}, 200),
]


async def test_only_hasura_and_the_edge_may_call_it(harness: HandlerHarness) -> None:
    envelope = {
        "action": {"name": "pancake_ingest_record"},
        "input": {"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": RAW},
        "session_variables": {"x-hasura-role": "admin"},
    }
    for headers, status in CALLERS:
        before = harness.count("pancake_webhook_event")
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        response = await harness.client.post("/actions/ingest_record", json=envelope, headers=encoded)
        assert response.status_code == status, headers
        if status == 401:
            assert response.json()["extensions"] == {"code": "unauthorized"}
            assert harness.count("pancake_webhook_event") == before
    assert harness.count("pancake_webhook_event") == 1


HOSTILE_TEXTS = [
    "'; DROP TABLE pancake_webhook_event; --",
    '"},{"x":',
    "{a,b}",
    "NULL",
    "\\x00",
    "%s %(id)s %%",
    "$1",
    "\u202e\ufeff\u0301\U0010ffff",
    "x" * 3000,
    "\n\r\t\x7f",
]


async def test_hostile_text_is_stored_as_text_in_every_field(harness: HandlerHarness) -> None:
    keys = ("name", "email", "full_address", "pancake_tags", "interested_product", "table_id", "owner")
    for n, text in enumerate(HOSTILE_TEXTS):
        record = LEAD | dict.fromkeys([*keys, text], text) | {"id": f"r-{n}", "source": ["-1", text]}
        event_id, result = await harness.process_lead(**record)
        assert harness.event(event_id)["payload"] == record
        assert result in {"ticket_created", "ticket_updated"}
        for key in ("id", "modified_on", "created_on", "phone_number", "type", "event", "data", "test"):
            found = await harness.deliver(record | {key: text})
            assert found["status"] in {"received", "dead_letter", "duplicate"}
    assert harness.one("SELECT count(*) FROM pancake_connection")["count"] == 1


WRONG_VALUES: list[object] = [None, True, 0, -1.5, 2**70, "", [], {}, [[]], [None], {"id": 1}, [{"id": {}}]]


async def test_wrong_types_in_any_field_are_stored(harness: HandlerHarness) -> None:
    keys = [*LEAD, "created_on", "email", "full_address", "pancake_tags", "interested_product", "table_id"]
    bodies = [
        LEAD | {"id": f"{key}-{n}", key: value}
        for key in [*keys, "data", "type"]
        for n, value in enumerate(WRONG_VALUES)
    ]
    answers = await asyncio.gather(*(harness.deliver(body) for body in bodies))
    stored = [a for a in answers if a["status"] != "duplicate"]
    assert len(stored) == harness.count("pancake_webhook_event")
    await asyncio.gather(*(harness.process(a["event_id"]) for a in stored))
    codes = harness.sql("SELECT DISTINCT error_code FROM pancake_webhook_event WHERE error_code IS NOT NULL")
    assert {row["error_code"] for row in codes} <= {"invalid_phone", "missing_record_id", "test_ping"}
    open_ = "SELECT count(*) FROM pancake_webhook_event WHERE status IN ('received', 'ingested', 'failed')"
    assert harness.one(open_)["count"] == 0


async def test_no_secret_is_logged(harness: HandlerHarness, capture_logs: list[str]) -> None:
    await harness.deliver(LEAD)
    await harness.deliver(b'{"api_key": "in-the-body"')
    await harness.deliver(LEAD, token="some-unknown-token")
    await harness.call_action({"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": "no base64 at all"})
    await harness.call_action(
        {"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": RAW}, {"X-Handler-Secret": "a-wrong-secret"}
    )
    await harness.client.post(
        "/actions/ingest_record", content=b"{" + WEBHOOK_TOKEN.encode(), headers=harness.headers
    )
    lines = "\n".join(capture_logs)
    assert lines.count('"message": "request"') == 6
    for secret in (
        WEBHOOK_TOKEN,
        "some-unknown-token",
        HANDLER_SECRET,
        "a-wrong-secret",
        "in-the-body",
        "0905111222",
    ):
        assert secret not in lines
    assert sha256(WEBHOOK_TOKEN.encode()).hexdigest() not in lines


async def test_other_methods_and_paths_are_refused(harness: HandlerHarness) -> None:
    response = await harness.client.get("/actions/ingest_record", headers=harness.headers)
    assert response.status_code == 405
    assert (await harness.client.post("/actions/unknown", headers=harness.headers)).status_code == 404
