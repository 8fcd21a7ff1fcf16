"""The action that takes charge of a delivery: durable before the answer, one row for each, never a 500."""

import asyncio
import base64
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import psycopg
import pytest

from leads.domain.canonical_json import MAX_BODY_BYTES
from tests.handlers.conftest import EDGE_SECRET, PREVIOUS_SECRET, SECRET, TOKEN, House, deadlocks

LEAD: dict[str, Any] = {
    "id": "2f941efe-d9a3-4d9a-affe-e123b06b8a44",
    "name": "Nguyễn Văn A",
    "phone_number": "0905111222",
    "source": ["-1"],
    "modified_on": "2026-05-14T02:35:56.000000",
}


def rows(house: House) -> int:
    return int(house.one("SELECT count(*) FROM pancake_webhook_event")["count"])


def answer(status: str, event_id: int | None = None, error_code: str | None = None) -> dict[str, Any]:
    return {"status": status, "event_id": event_id, "error_code": error_code}


async def test_a_delivery_is_stored_as_received_before_the_answer(house: House) -> None:
    found = await house.deliver(LEAD, source_ip="192.0.2.7", arrived_at="2026-05-14T02:36:00Z")
    event = house.event(found["event_id"])
    assert found == answer("received", event["id"])
    assert (event["status"], event["origin"], event["record_id"]) == ("received", "webhook", LEAD["id"])
    assert event["payload"] == LEAD
    assert (event["table_name"], event["source_ids"]) == ("lead", ["-1"])
    assert event["modified_on"] == datetime(2026, 5, 14, 2, 35, 56, tzinfo=UTC)
    assert event["arrived_at"] == datetime(2026, 5, 14, 2, 36, tzinfo=UTC)
    assert str(event["source_ip"]) == "192.0.2.7"
    assert event["received_at"] is not None
    assert (event["raw"], event["error_code"], event["attempts"]) == (None, None, 0)


async def test_a_naive_time_is_read_in_the_connections_time_zone(house: House) -> None:
    house.sql("UPDATE pancake_connection SET record_timezone = 'Asia/Ho_Chi_Minh'")
    naive = await house.deliver(LEAD)
    aware = await house.deliver(LEAD | {"id": "aware", "modified_on": "2026-05-14T02:35:56+09:00"})
    assert house.event(naive["event_id"])["modified_on"] == datetime(2026, 5, 13, 19, 35, 56, tzinfo=UTC)
    assert house.event(aware["event_id"])["modified_on"] == datetime(2026, 5, 13, 17, 35, 56, tzinfo=UTC)


async def test_a_time_zone_that_does_not_exist_cannot_be_set(house: House) -> None:
    for zone in ("Nowhere/Land", "", "'; DROP TABLE ticket"):
        with pytest.raises(psycopg.errors.DataError):
            house.sql("UPDATE pancake_connection SET record_timezone = %s", zone)


async def test_a_table_is_known_by_the_body_else_by_the_connections_only_table(house: House) -> None:
    assert house.event((await house.deliver(LEAD))["event_id"])["table_name"] == "lead"
    named = await house.deliver(LEAD | {"id": "b", "table_id": "contact"})
    assert house.event(named["event_id"])["table_name"] == "contact"
    house.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    assert house.event((await house.deliver(LEAD | {"id": "c"}))["event_id"])["table_name"] is None


# --- tokens


async def test_an_unknown_token_stores_nothing(house: House) -> None:
    for token in ("unknown", "' OR 1=1 --", "\ud800", "x" * 200, TOKEN + " ", TOKEN.upper()):
        assert await house.deliver(LEAD, token=token) == answer("unknown_token")
    assert rows(house) == 0


async def test_a_rotated_token_works_until_its_grace_ends_by_the_time_of_arrival(house: House) -> None:
    now = house.clock.now()
    house.sql(
        "UPDATE pancake_connection SET token_sha256 = %s, previous_token_sha256 = token_sha256,"
        " previous_token_expires_at = %s",
        sha256(b"the new token").digest(),
        now + timedelta(hours=24),
    )
    assert (await house.deliver(LEAD, token="the new token"))["status"] == "received"
    assert (await house.deliver(LEAD | {"id": "b"}))["status"] == "received"
    house.clock.ahead = timedelta(hours=25)
    assert (await house.deliver(LEAD | {"id": "c"}))["status"] == "unknown_token"
    spooled = (now + timedelta(hours=23)).isoformat()
    assert (await house.deliver(LEAD | {"id": "c"}, arrived_at=spooled))["status"] == "received"
    assert (await house.deliver(LEAD | {"id": "d"}, token="the new token"))["status"] == "received"


async def test_an_arrival_in_the_future_counts_as_now(house: House) -> None:
    found = await house.deliver(LEAD, arrived_at="2999-01-01T00:00:00Z")
    assert house.event(found["event_id"])["arrived_at"] <= datetime.now(UTC)


# --- duplicates


async def test_a_repeat_adds_no_row_whatever_its_key_order_and_white_space(house: House) -> None:
    first = await house.deliver(LEAD)
    for body in (LEAD, dict(reversed(LEAD.items())), json.dumps(LEAD, indent=3), "\ufeff" + json.dumps(LEAD)):
        assert await house.deliver(body) == answer("duplicate")
    assert first["status"] == "received"
    assert rows(house) == 1


async def test_another_version_or_another_body_is_another_row(house: House) -> None:
    for body in (
        LEAD,
        LEAD | {"name": "B"},
        LEAD | {"modified_on": "2026-05-15T00:00:00"},
        LEAD | {"id": "b"},
    ):
        assert (await house.deliver(body))["status"] == "received"
    assert rows(house) == 4


async def test_the_same_bytes_without_record_id_are_one_row(house: House) -> None:
    assert (await house.deliver(b"not json"))["status"] == "dead_letter"
    assert (await house.deliver(b"not json"))["status"] == "duplicate"
    assert rows(house) == 1


async def test_duplicates_within_one_batch_are_one_row(house: House) -> None:
    answers = await asyncio.gather(*(house.deliver(LEAD) for _ in range(60)))
    assert Counter(a["status"] for a in answers) == {"received": 1, "duplicate": 59}
    assert [a["event_id"] for a in answers if a["status"] == "duplicate"] == [None] * 59
    assert rows(house) == 1


@pytest.mark.parametrize("sources", [0, 7], ids=["known sources", "new sources"])
async def test_every_delivery_twice_the_second_time_in_reverse_through_two_processes(
    house: House, second_house: House, sources: int
) -> None:
    house.slow_down("pancake_webhook_event", 0.001)
    house.slow_down("pancake_source", 0.01)
    new = [[f"new-{n % sources}"] if sources else [] for n in range(150)]
    bodies = [LEAD | {"id": f"r-{n}", "source": [*new[n], "-1"]} for n in range(150)]
    async with asyncio.timeout(30):
        there = [house.deliver(body) for body in bodies]
        back = [second_house.deliver(body) for body in reversed(bodies)]
        answers = await asyncio.gather(*there, *back)
    assert Counter(a["status"] for a in answers) == {"received": 150, "duplicate": 150}
    assert rows(house) == 150
    assert await deadlocks(house, second_house) == 0


# --- dead letters


INVALID = (
    (b"", "invalid_json"),
    (b"not json", "invalid_json"),
    (b"\xff\xfe\x00", "invalid_json"),
    (b"[]", "invalid_json"),
    (b'{"id": "a", "n": NaN}', "invalid_json"),
    (b'{"id": "a\\ud800"}', "invalid_json"),
    (b"[" * 5000 + b"]" * 5000, "too_deep"),
    (b'{"id": "' + b"x" * MAX_BODY_BYTES + b'"}', "too_large"),
    (b'{"id": "a", "n": 1e100}', "unstorable"),
    (b'{"name": "no id"}', "missing_record_id"),
    (b'{"id": null}', "missing_record_id"),
    (b"{}", "test_ping"),
    (b'{"test": true}', "test_ping"),
)


async def test_what_cannot_be_processed_is_kept_with_its_reason(house: House) -> None:
    for body, error_code in INVALID:
        found = await house.deliver(body)
        event = house.event(found["event_id"])
        assert found == answer("dead_letter", event["id"], error_code)
        assert (event["status"], event["error_code"]) == ("dead_letter", error_code)
        assert event["error_detail"]
        if event["raw"] is None:
            assert event["payload"] == json.loads(body)
        else:
            assert bytes(event["raw"]) == body


async def test_one_row_that_the_database_refuses_never_fails_its_neighbours(house: House) -> None:
    bad = '{"id": "bad", "source": ["-1"], "n": ' + "9" * 140_000 + "}"
    bodies: list[Any] = [LEAD | {"id": f"r-{n}"} for n in range(40)]
    bodies[20:20] = [bad, b"not json"]
    answers = await asyncio.gather(*(house.deliver(body) for body in bodies))
    assert Counter(a["status"] for a in answers) == {"received": 40, "dead_letter": 2}
    assert answers[20]["error_code"] == "unstorable"
    assert bytes(house.event(answers[20]["event_id"])["raw"]).startswith(b'{"id":"bad"')
    assert (await house.deliver(bad))["status"] == "duplicate"


async def test_numbers_keep_their_value(house: House) -> None:
    found = await house.deliver(f'{{"id": {2**64 + 1}, "source": [-1], "n": [{2**64}, 1e40, 0.1]}}')
    event = house.one(
        "SELECT record_id, (payload -> 'n' -> 0)::text AS big, length((payload -> 'n' -> 1)::text) AS digits"
        " FROM pancake_webhook_event WHERE id = %s",
        found["event_id"],
    )
    assert event == {"record_id": str(2**64 + 1), "big": str(2**64), "digits": 41}
    other = await house.deliver(f'{{"id": {2**64 + 1}, "source": [-1], "n": [{2**64 + 1}, 1e40, 0.1]}}')
    assert other["status"] == "received"


async def test_nul_is_removed_and_noted(house: House) -> None:
    found = await house.deliver(
        '{"id": "a\\u0000b", "name": "\\u0000", "k\\u0000": 1, "source": ["-1\\u0000"]}'
    )
    event = house.event(found["event_id"])
    assert event["status"] == "received"
    assert (event["record_id"], event["source_ids"]) == ("ab", ["-1"])
    assert "nul_removed" in str(event["evidence"]["notes"])


# --- switches


async def test_the_kill_switch_holds_what_comes(house: House) -> None:
    house.switch(kill_switch=True)
    found = await house.deliver(LEAD)
    event = house.event(found["event_id"])
    assert found == answer("skipped_kill_switch", event["id"])
    assert (event["status"], event["held_at"] is not None) == ("skipped_kill_switch", True)
    house.switch(kill_switch=False)
    assert (await house.deliver(LEAD | {"id": "b"}))["status"] == "received"


UNREADABLE = (
    "UPDATE app_setting SET app_settings = '{}'",
    "UPDATE app_setting SET app_settings = '[]'",
    "UPDATE app_setting SET app_settings = '\"text\"'",
    "UPDATE app_setting SET app_settings = '{\"pancake_integration\": null}'",
    "UPDATE app_setting SET app_settings = '{\"pancake_integration\": {}}'",
    'UPDATE app_setting SET app_settings = \'{"pancake_integration": {"kill_switch": null}}\'',
    'UPDATE app_setting SET app_settings = \'{"pancake_integration": {"kill_switch": 0}}\'',
    'UPDATE app_setting SET app_settings = \'{"pancake_integration": {"kill_switch": "off"}}\'',
    'UPDATE app_setting SET app_settings = \'{"pancake_integration": {"kill_switch": [false]}}\'',
    "DELETE FROM app_setting",
)


async def test_a_missing_or_unreadable_switch_reads_as_on(house: House) -> None:
    waiting = [(await house.deliver(LEAD | {"id": statement}))["event_id"] for statement in UNREADABLE]
    for event_id, statement in zip(waiting, UNREADABLE, strict=True):
        house.sql(statement)
        assert (await house.deliver(LEAD | {"id": f"late {statement}"}))["status"] == "skipped_kill_switch"
        assert await house.process(event_id) == "skipped_kill_switch"


async def test_invalid_bodies_stay_dead_letters_while_the_kill_switch_is_on(house: House) -> None:
    house.switch(kill_switch=True)
    assert (await house.deliver(b"nope"))["status"] == "dead_letter"


async def test_a_record_is_active_if_any_of_its_sources_is(house: House) -> None:
    assert (await house.deliver(LEAD | {"source": ["-3"]}))["status"] == "skipped_source_disabled"
    assert (await house.deliver(LEAD | {"source": ["-3", "-1"]}))["status"] == "received"
    house.sql("UPDATE pancake_source SET is_active = true WHERE pancake_source_id = '-3'")
    assert (await house.deliver(LEAD | {"id": "b", "source": [-3]}))["status"] == "received"


async def test_without_a_source_the_record_belongs_to_the_pseudo_source_inactive_at_first(
    house: House,
) -> None:
    nothing: list[object] = [None, [], "", {}]
    for n, source in enumerate(nothing):
        found = await house.deliver(LEAD | {"id": f"before-{n}", "source": source})
        assert found["status"] == "skipped_source_disabled"
    house.sql("UPDATE pancake_source SET is_active = true WHERE pancake_source_id = '(none)'")
    for n, source in enumerate(nothing):
        assert (await house.deliver(LEAD | {"id": f"after-{n}", "source": source}))["status"] == "received"


async def test_an_unknown_source_becomes_an_inactive_row_and_one_notification_to_the_admins(
    house: House,
) -> None:
    answers = await asyncio.gather(
        *(house.deliver(LEAD | {"id": f"r-{n}", "source": ["777"]}) for n in range(20))
    )
    assert {a["status"] for a in answers} == {"skipped_source_disabled"}
    source = house.one("SELECT * FROM pancake_source WHERE pancake_source_id = '777'")
    assert (source["is_active"], source["is_removed"]) == (False, False)
    assert [await house.process(a["event_id"]) for a in answers] == ["not_received"] * 20
    (sent,) = house.hasura.sent.values()
    assert sent["template_code"] == "noti_pancake_needs_attention"
    assert sent["data"] == {"reason": "new_source", "detail": "777"}
    admins = house.sql("SELECT id::text FROM staff WHERE role = 'admin' AND is_active ORDER BY id")
    assert sorted(sent["recipient_ids"]) == [row["id"] for row in admins]


async def test_a_new_source_beside_an_active_one_is_told_when_the_record_is_processed(house: House) -> None:
    event_id, result = await house.lead(source=["-1", "888"])
    assert result == "ticket_created"
    assert f"{event_id}:source_new_888" in house.hasura.sent
    await house.lead(id="another", source=["-1", "888"])
    assert sum("source_new" in key for key in house.hasura.sent) == 1


async def test_sources_are_those_of_the_connection(house: House) -> None:
    house.sql(
        "INSERT INTO pancake_connection (name, workspace_id, token_sha256) VALUES ('other', 9, %s)",
        sha256(b"other token").digest(),
    )
    assert (await house.deliver(LEAD, token="other token"))["status"] == "skipped_source_disabled"


# --- the envelope


async def test_a_payload_is_taken_as_well_as_raw_bytes_and_keeps_its_numbers(house: House) -> None:
    response = await house.act({"token": TOKEN, "payload": LEAD | {"n": 2**64 + 1}})
    event = house.event(response.json()["event_id"])
    assert response.json()["status"] == "received"
    assert event["payload"]["n"] == 2**64 + 1
    assert (await house.deliver(LEAD | {"n": 2**64 + 1}))["status"] == "duplicate"


RAW = base64.b64encode(b"{}").decode()


MALFORMED: list[dict[str, Any]] = [
    {},
    {"token": TOKEN},
    {"raw": RAW},
    {"token": None, "raw": RAW},
    {"token": "", "raw": RAW},
    {"token": 5, "raw": RAW},
    {"token": ["x"], "raw": RAW},
    {"token": "x" * 201, "raw": RAW},
    {"token": TOKEN, "raw": RAW, "payload": {}},
    {"token": TOKEN, "raw": None, "payload": None},
    {"token": TOKEN, "raw": "*** no base64 ***"},
    {"token": TOKEN, "raw": "é"},
    {"token": TOKEN, "raw": 5},
    {"token": TOKEN, "raw": {"a": 1}},
    {"token": TOKEN, "payload": []},
    {"token": TOKEN, "payload": "text"},
]


async def test_a_malformed_input_is_a_clear_400(house: House) -> None:
    for input_ in MALFORMED:
        response = await house.act(input_)
        assert response.status_code == 400, input_
        assert response.json()["extensions"] == {"code": "bad_request"}
        assert response.json()["message"]
    assert rows(house) == 0


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


async def test_an_odd_source_address_never_costs_the_delivery(house: House) -> None:
    for n, (source_ip, stored) in enumerate(ADDRESSES):
        found = await house.deliver(LEAD | {"id": f"r-{n}"}, source_ip=source_ip)
        event = house.event(found["event_id"])
        assert (str(event["source_ip"]) if event["source_ip"] else None) == stored, source_ip


async def test_an_odd_time_of_arrival_counts_as_now(house: House) -> None:
    odd: list[object] = [None, "", "yesterday", 5, [], "0001-01-01T00:00:00Z", "\ud800"]
    for n, arrived_at in enumerate(odd):
        found = await house.deliver(LEAD | {"id": f"r-{n}"}, arrived_at=arrived_at)
        event = house.event(found["event_id"])
        assert abs(event["arrived_at"] - datetime.now(UTC)) < timedelta(minutes=1)


CALLERS: list[tuple[dict[str, str], int]] = [
    ({}, 401),
    ({"X-Handler-Secret": ""}, 401),
    ({"X-Handler-Secret": "wrong"}, 401),
    ({"X-Handler-Secret": SECRET[:-1]}, 401),
    ({"X-Handler-Secret": EDGE_SECRET}, 401),
    ({"X-Edge-Secret": SECRET}, 401),
    ({"X-Edge-Secret": "é"}, 401),
    ({"Authorization": f"Bearer {SECRET}", "X-Hasura-Role": "admin", "X-Hasura-Admin-Secret": "x"}, 401),
    ({"X-Handler-Secret": SECRET}, 200),
    ({"X-Handler-Secret": PREVIOUS_SECRET}, 200),
    ({"X-Edge-Secret": EDGE_SECRET}, 200),
]


async def test_only_hasura_and_the_edge_may_call_it(house: House) -> None:
    envelope = {
        "action": {"name": "pancake_ingest_record"},
        "input": {"token": TOKEN, "raw": RAW},
        "session_variables": {"x-hasura-role": "admin"},
    }
    for headers, status in CALLERS:
        before = rows(house)
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        response = await house.client.post("/actions/ingest_record", json=envelope, headers=encoded)
        assert response.status_code == status, headers
        if status == 401:
            assert response.json()["extensions"] == {"code": "unauthorized"}
            assert rows(house) == before
    assert rows(house) == 1


# --- hostile input


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


async def test_hostile_text_in_every_field_is_only_text(house: House) -> None:
    keys = ("name", "email", "full_address", "pancake_tags", "interested_product", "table_id", "owner")
    for n, text in enumerate(HOSTILE_TEXTS):
        record = LEAD | dict.fromkeys([*keys, text], text) | {"id": f"r-{n}", "source": ["-1", text]}
        event_id, result = await house.lead(**record)
        assert house.event(event_id)["payload"] == record
        assert result in {"ticket_created", "ticket_updated"}
        for key in ("id", "modified_on", "created_on", "phone_number", "type", "event", "data", "test"):
            found = await house.deliver(record | {key: text})
            assert found["status"] in {"received", "dead_letter", "duplicate"}
    assert house.one("SELECT count(*) FROM pancake_connection")["count"] == 1


WRONG_VALUES: list[object] = [None, True, 0, -1.5, 2**70, "", [], {}, [[]], [None], {"id": 1}, [{"id": {}}]]


async def test_wrong_types_in_any_field_never_lose_a_row(house: House) -> None:
    keys = [*LEAD, "created_on", "email", "full_address", "pancake_tags", "interested_product", "table_id"]
    bodies = [
        LEAD | {"id": f"{key}-{n}", key: value}
        for key in [*keys, "data", "type"]
        for n, value in enumerate(WRONG_VALUES)
    ]
    answers = await asyncio.gather(*(house.deliver(body) for body in bodies))
    stored = [a for a in answers if a["status"] != "duplicate"]
    assert len(stored) == rows(house)
    await asyncio.gather(*(house.process(a["event_id"]) for a in stored))
    codes = house.sql("SELECT DISTINCT error_code FROM pancake_webhook_event WHERE error_code IS NOT NULL")
    assert {row["error_code"] for row in codes} <= {"invalid_phone", "missing_record_id", "test_ping"}
    open_ = "SELECT count(*) FROM pancake_webhook_event WHERE status IN ('received', 'ingested', 'failed')"
    assert house.one(open_)["count"] == 0


async def test_no_secret_reaches_a_log_line(house: House, capture_logs: list[str]) -> None:
    await house.deliver(LEAD)
    await house.deliver(b'{"api_key": "in-the-body"')
    await house.deliver(LEAD, token="some-unknown-token")
    await house.act({"token": TOKEN, "raw": "no base64 at all"})
    await house.act({"token": TOKEN, "raw": RAW}, {"X-Handler-Secret": "a-wrong-secret"})
    await house.client.post("/actions/ingest_record", content=b"{" + TOKEN.encode(), headers=house.headers)
    lines = "\n".join(capture_logs)
    assert lines.count('"message": "request"') == 6
    for secret in (TOKEN, "some-unknown-token", SECRET, "a-wrong-secret", "in-the-body", "0905111222"):
        assert secret not in lines
    assert sha256(TOKEN.encode()).hexdigest() not in lines


# --- the database goes away


async def test_a_lost_connection_is_a_503_and_the_next_delivery_is_taken(house: House) -> None:
    assert (await house.deliver(LEAD))["status"] == "received"
    house.terminate_backends()
    codes = []
    body = base64.b64encode(json.dumps(LEAD | {"id": "b"}).encode()).decode()
    async with asyncio.timeout(20):
        while 200 not in codes:
            response = await house.act({"token": TOKEN, "raw": body})
            codes.append(response.status_code)
            assert response.json().get("extensions") in (None, {"code": "database_unavailable"})
    assert set(codes) <= {200, 503}
    assert rows(house) == 2


async def test_metrics_count_what_became_of_deliveries(house: House) -> None:
    await house.deliver(LEAD)
    await house.deliver(LEAD)
    await house.deliver(LEAD, token="unknown")
    text = (await house.client.get("/metrics")).text
    for status in ("received", "duplicate", "unknown_token"):
        assert f'pancake_webhook_requests_total{{status="{status}"}} 1.0' in text
    assert 'pancake_webhook_latency_seconds_count{hop="handler"} 3.0' in text


async def test_other_methods_and_paths_are_refused(house: House) -> None:
    response = await house.client.get("/actions/ingest_record", headers=house.headers)
    assert response.status_code == 405
    assert (await house.client.post("/actions/unknown", headers=house.headers)).status_code == 404
