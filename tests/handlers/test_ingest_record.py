"""The action that stores a delivery before it answers: one row each, once, never a 500."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from leads.domain.canonical_json import MAX_BODY_BYTES
from leads.services import ingest_record
from ops.daily.connection_secrets import rotate_token
from sandbox.serving import find_value, read_samples
from tests.support.handlers import HandlerHarness, ingest_answer
from tests.support.leads import LEAD, PHONE
from tests.support.postgres import count_deadlocks
from tests.support.processing import insert_connection, process, replay, stored
from tests.support.settings import WEBHOOK_TOKEN, WEBHOOK_TOKEN_SHA256

MINUTE = timedelta(minutes=1)
OTHER_TOKEN = "token-of-another-workspace"


async def deliver(harness: HandlerHarness, *bodies: Any, **input_: Any) -> list[str]:
    """Deliver one body after the other; return the statuses."""
    return [(await harness.deliver(body, **input_))["status"] for body in bodies]


@pytest.mark.test_case("TC-001")
async def test_a_delivery_is_stored_as_received_before_the_answer(harness: HandlerHarness) -> None:
    arrived_at = harness.clock.now() - timedelta(days=6)
    found = await harness.deliver(LEAD, source_ip="192.0.2.7", arrived_at=arrived_at.isoformat())
    event = harness.event(found["event_id"])
    assert found == ingest_answer("received", event["id"])
    assert (event["status"], event["origin"], event["record_id"]) == ("received", "webhook", LEAD["id"])
    assert event["payload"] == LEAD
    assert (event["table_name"], event["source_ids"]) == ("lead", ["-1"])
    assert event["modified_on"] == datetime(2026, 5, 14, 2, 35, 56, tzinfo=UTC)
    assert event["arrived_at"] == arrived_at
    assert str(event["source_ip"]) == "192.0.2.7"
    assert event["received_at"] is not None
    assert (event["raw"], event["error_code"], event["attempts"]) == (None, None, 0)


async def test_numbers_keep_their_value(harness: HandlerHarness) -> None:
    found = await harness.deliver(f'{{"id": {2**64 + 1}, "source": [-1], "n": [{2**64}, 1e40, 0.1]}}')
    event = harness.one(
        "SELECT record_id, (payload -> 'n' -> 0)::text AS big, length((payload -> 'n' -> 1)::text) AS digits"
        " FROM pancake_webhook_event WHERE id = %s",
        found["event_id"],
    )
    assert event == {"record_id": str(2**64 + 1), "big": str(2**64), "digits": 41}
    other = f'{{"id": {2**64 + 1}, "source": [-1], "n": [{2**64 + 1}, 1e40, 0.1]}}'
    assert await deliver(harness, other) == ["received"]
    payload = LEAD | {"n": 2**64 + 1}
    response = await harness.call_action({"token_sha256": WEBHOOK_TOKEN_SHA256, "payload": payload})
    assert response.json()["status"] == "received", "a payload is accepted instead of raw bytes"
    assert harness.event(response.json()["event_id"])["payload"] == payload
    assert await deliver(harness, payload) == ["duplicate"]


async def test_metrics_count_deliveries_by_status(harness: HandlerHarness) -> None:
    await deliver(harness, LEAD, LEAD)
    await deliver(harness, LEAD, token="unknown")
    shown = read_samples((await harness.client.get("/metrics")).text)
    for status in ("received", "duplicate", "unknown_token"):
        assert find_value(shown, f'pancake_webhook_requests_total{{status="{status}"}}') == 1
    assert find_value(shown, 'pancake_webhook_latency_seconds_count{hop="handler"}') == 3


# Tokens


@pytest.mark.test_case("TC-002")
async def test_an_unknown_token_stores_nothing(harness: HandlerHarness) -> None:
    for token in ("unknown", "' OR 1=1 --", "\ud800", "x" * 200, WEBHOOK_TOKEN + " ", WEBHOOK_TOKEN.upper()):
        assert await harness.deliver(LEAD, token=token) == ingest_answer("unknown_token")
    assert harness.count("pancake_webhook_event") == 0


async def test_after_a_rotation_both_tokens_work_for_24_hours(harness: HandlerHarness) -> None:
    """The grace period starts at the rotation; a spooled delivery counts by its time of arrival."""
    rotated_at = harness.clock.now()
    with psycopg.connect(harness.database_url, autocommit=True, row_factory=dict_row) as db:
        fresh = rotate_token(db, harness.connection_id, rotated_at)

    async def statuses(hours: int, **input_: str) -> list[str]:
        bodies = [LEAD | {"id": f"{hours} {len(input_)} {n}"} for n in range(2)]
        old = await deliver(harness, bodies[0], token=WEBHOOK_TOKEN, **input_)
        return old + await deliver(harness, bodies[1], token=fresh)

    assert await statuses(0) == ["received", "received"]
    harness.clock.ahead += timedelta(hours=23, minutes=59)
    assert await statuses(23) == ["received", "received"]
    harness.clock.ahead += timedelta(minutes=2)
    assert await statuses(24) == ["unknown_token", "received"]
    arrived = (rotated_at + timedelta(hours=23)).isoformat()
    assert await statuses(24, arrived_at=arrived) == ["received", "received"]
    assert harness.count("pancake_webhook_event") == 7


# Times


async def test_a_time_without_a_zone_uses_the_time_zone_of_the_connection(harness: HandlerHarness) -> None:
    harness.sql("UPDATE pancake_connection SET record_timezone = 'Asia/Ho_Chi_Minh'")
    naive, aware = (
        await stored(harness),
        await stored(harness, id="b", modified_on="2026-05-14T02:35:56+15:59"),
    )
    assert harness.event(naive)["modified_on"] == datetime(2026, 5, 13, 19, 35, 56, tzinfo=UTC)
    assert harness.event(aware)["modified_on"] == datetime(2026, 5, 13, 10, 36, 56, tzinfo=UTC)
    for zone in ("Nowhere/Land", ""):
        with pytest.raises(psycopg.errors.DataError):
            harness.sql("UPDATE pancake_connection SET record_timezone = %s", zone)


async def test_an_arrival_is_at_most_a_week_back_and_an_invalid_one_is_now(harness: HandlerHarness) -> None:
    """A caller that names the time of arrival cannot use a token that expired long ago."""
    now = harness.clock.now()
    times: list[object] = ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z"]
    times += [None, "", "yesterday", 5, [], f"{now:%Y-%m-%dT%H:%M:%S}+16:00"]
    for n, arrived_at in enumerate(times):
        found = await harness.deliver(LEAD | {"id": f"r-{n}"}, arrived_at=arrived_at)
        expected = now if n else now - timedelta(days=7)
        assert timedelta() <= harness.event(found["event_id"])["arrived_at"] - expected < MINUTE, arrived_at
    harness.sql(
        "UPDATE pancake_connection SET token_sha256 = %s, previous_token_sha256 = token_sha256,"
        " previous_token_expires_at = %s",
        sha256(b"the new token").digest(),
        now - timedelta(days=8),
    )
    long_ago = (now - timedelta(days=9)).isoformat()
    assert await deliver(harness, LEAD | {"id": "b"}, arrived_at=long_ago) == ["unknown_token"]


# Duplicates: a body is stored once for each connection and table


@pytest.mark.test_case("TC-003")
async def test_a_repeat_with_other_key_order_or_white_space_adds_no_row(harness: HandlerHarness) -> None:
    """Also after the first one was processed and replayed."""
    lead = await process(harness)
    for body in (LEAD, dict(reversed(LEAD.items())), json.dumps(LEAD, indent=3), "\ufeff" + json.dumps(LEAD)):
        assert await harness.deliver(body) == ingest_answer("duplicate")
    await replay(harness, lead.id)
    assert await deliver(harness, LEAD) == ["duplicate"]
    assert harness.count("pancake_webhook_event") == 1
    changes: list[dict[str, Any]] = [{"name": "B"}, {"modified_on": "2026-05-15T00:00:00"}, {"id": "b"}]
    assert await deliver(harness, *(LEAD | change for change in changes)) == ["received"] * 3
    assert harness.count("pancake_webhook_event") == 4


async def test_duplicates_within_one_batch_are_one_row(harness: HandlerHarness) -> None:
    answers = await asyncio.gather(*(harness.deliver(LEAD) for _ in range(60)))
    assert Counter(a["status"] for a in answers) == {"received": 1, "duplicate": 59}
    assert [a["event_id"] for a in answers if a["status"] == "duplicate"] == [None] * 59
    assert harness.count("pancake_webhook_event") == 1


async def test_a_body_is_stored_for_each_table_of_the_connection(harness: HandlerHarness) -> None:
    """A body may name no table; then that of a connection with one table counts."""
    for tables, status in (("{lead}", "received"), ("{contact}", "received"), ("{contact}", "duplicate")):
        harness.sql("UPDATE pancake_connection SET table_names = %s", tables)
        assert await deliver(harness, LEAD) == [status]
    harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    assert await deliver(harness, LEAD) == ["duplicate"], "without a table it counts as a lead"
    await stored(harness, id="b", table_id="contact")
    await stored(harness, id="c")
    rows = harness.sql("SELECT table_name FROM pancake_webhook_event ORDER BY id")
    assert [row["table_name"] for row in rows] == ["lead", "contact", "contact", None]


@pytest.mark.own_database
@pytest.mark.parametrize("sources", [0, 7], ids=["known sources", "new sources"])
async def test_two_processes_with_every_delivery_in_opposite_order_store_each_once(
    harness: HandlerHarness, second_harness: HandlerHarness, sources: int
) -> None:
    """Of two workspaces that post the same bodies."""
    insert_connection(harness, OTHER_TOKEN)
    harness.enforce_header()
    harness.slow_down("pancake_webhook_event", 0.001)
    harness.slow_down("pancake_source", 0.01)
    new = [[f"new-{n % sources}"] if sources else [] for n in range(75)]
    deliveries = [
        (LEAD | {"id": f"r-{n}", "source": [*new[n], "-1"]}, token)
        for n in range(75)
        for token in (WEBHOOK_TOKEN, OTHER_TOKEN)
    ]
    async with asyncio.timeout(30):
        there = [harness.deliver(body, token=token) for body, token in deliveries]
        back = [second_harness.deliver(body, token=token) for body, token in reversed(deliveries)]
        answers = await asyncio.gather(*there, *back)
    assert Counter(a["status"] for a in answers) == {"received": 150, "duplicate": 150}
    assert harness.count("pancake_webhook_event") == 150
    assert harness.count("pancake_source", "name IS NULL") == 2 * sources
    assert await count_deadlocks(harness, second_harness) == 0


# Dead letters: kept with their reason

INVALID = (
    (b"", "invalid_json"),
    (b"\xff\xfe\x00", "invalid_json"),
    (b"[" * 5000 + b"]" * 5000, "too_deep"),
    (b'{"id": "' + b"x" * MAX_BODY_BYTES + b'"}', "too_large"),
    (b'{"id": "a", "n": 1e100}', "unstorable"),
    (b'{"name": "no id"}', "missing_record_id"),
    (b'{"test": true}', "test_ping"),
)


@pytest.mark.test_case("TC-018")
async def test_a_body_that_cannot_be_processed_is_stored_with_its_reason(harness: HandlerHarness) -> None:
    """Also while the kill switch is on."""
    for body, error_code in INVALID:
        found = await harness.deliver(body)
        event = harness.event(found["event_id"])
        assert found == ingest_answer("dead_letter", event["id"], error_code)
        assert (event["status"], event["error_code"]) == ("dead_letter", error_code)
        assert event["error_detail"]
        if event["raw"] is None:
            assert event["payload"] == json.loads(body)
        else:
            assert bytes(event["raw"]) == body
    harness.change_settings(kill_switch=True)
    assert await deliver(harness, b"nope") == ["dead_letter"]


async def test_a_row_that_the_database_refuses_fails_alone(harness: HandlerHarness) -> None:
    bad = '{"id": "bad", "source": ["-1"], "n": ' + "9" * 140_000 + "}"
    bodies: list[Any] = [LEAD | {"id": f"r-{n}"} for n in range(40)]
    bodies[20:20] = [bad, b"not json"]
    answers = await asyncio.gather(*(harness.deliver(body) for body in bodies))
    assert Counter(a["status"] for a in answers) == {"received": 40, "dead_letter": 2}
    assert answers[20]["error_code"] == "unstorable"
    assert bytes(harness.event(answers[20]["event_id"])["raw"]).startswith(b'{"id":"bad"')
    assert await deliver(harness, bad) == ["duplicate"]


# The phone of a body


@pytest.mark.test_case("TC-010")
async def test_the_first_usable_phone_is_stored_before_processing(
    harness: HandlerHarness, subtests: pytest.Subtests
) -> None:
    """Also of what is held, enveloped or a dead letter."""
    bodies: list[tuple[object, str, str | None]] = [
        (LEAD | {"phone_number": ["0123", "Zalo 0905111222 / 0912345678"]}, "received", PHONE),
        (LEAD | {"phone_number": "0123"}, "received", None),
        (LEAD | {"source": ["-3"]}, "skipped_source_disabled", PHONE),
        ({"event": "record", "action": "created", "data": LEAD}, "received", PHONE),
        (LEAD | {"id": None}, "dead_letter", PHONE),
        (json.dumps(LEAD | {"size": "HUGE"}).replace('"HUGE"', "9" * 140_000), "dead_letter", PHONE),
        (LEAD | {"id": "switch"}, "skipped_kill_switch", PHONE),
    ]
    for number, (body, status, phone) in enumerate(bodies, 1):
        with subtests.test(number=number, body=body):
            harness.change_settings(kill_switch=number == len(bodies))
            assert await deliver(harness, body) == [status]
            newest = harness.one(
                "SELECT normalized_phone FROM pancake_webhook_event ORDER BY id DESC LIMIT 1"
            )
            assert newest["normalized_phone"] == phone


async def test_a_body_is_stored_though_its_phone_cannot_be_read(
    harness: HandlerHarness, monkeypatch: pytest.MonkeyPatch, capture_logs: list[str]
) -> None:
    def fail(record: object) -> None:
        raise ZeroDivisionError(f"{record} cannot be read")

    monkeypatch.setattr(ingest_record, "first_phone", fail)
    event_id = await stored(harness)
    assert harness.event(event_id)["normalized_phone"] is None
    (line,) = [line for line in capture_logs if "phone not read" in line]
    assert "ZeroDivisionError" in line
    assert "0905111222" not in line
