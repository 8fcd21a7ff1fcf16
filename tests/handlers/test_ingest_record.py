"""The action that stores a delivery before it answers: one row each, never a 500."""

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import psycopg
import pytest

from tests.support.handlers import HandlerHarness, ingest_answer
from tests.support.leads import LEAD
from tests.support.settings import WEBHOOK_TOKEN, WEBHOOK_TOKEN_SHA256

MINUTE = timedelta(minutes=1)


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


async def test_a_time_without_a_zone_uses_the_time_zone_of_the_connection(harness: HandlerHarness) -> None:
    harness.sql("UPDATE pancake_connection SET record_timezone = 'Asia/Ho_Chi_Minh'")
    naive = await harness.deliver(LEAD)
    aware = await harness.deliver(LEAD | {"id": "aware", "modified_on": "2026-05-14T02:35:56+09:00"})
    assert harness.event(naive["event_id"])["modified_on"] == datetime(2026, 5, 13, 19, 35, 56, tzinfo=UTC)
    assert harness.event(aware["event_id"])["modified_on"] == datetime(2026, 5, 13, 17, 35, 56, tzinfo=UTC)


async def test_a_time_zone_that_does_not_exist_cannot_be_set(harness: HandlerHarness) -> None:
    for zone in ("Nowhere/Land", "", "'; DROP TABLE ticket"):
        with pytest.raises(psycopg.errors.DataError):
            harness.sql("UPDATE pancake_connection SET record_timezone = %s", zone)


async def test_the_table_is_named_by_the_body_or_is_the_only_one_of_the_connection(
    harness: HandlerHarness,
) -> None:
    assert harness.event((await harness.deliver(LEAD))["event_id"])["table_name"] == "lead"
    named = await harness.deliver(LEAD | {"id": "b", "table_id": "contact"})
    assert harness.event(named["event_id"])["table_name"] == "contact"
    harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    assert harness.event((await harness.deliver(LEAD | {"id": "c"}))["event_id"])["table_name"] is None


@pytest.mark.test_case("TC-002")
async def test_an_unknown_token_stores_nothing(harness: HandlerHarness) -> None:
    for token in ("unknown", "' OR 1=1 --", "\ud800", "x" * 200, WEBHOOK_TOKEN + " ", WEBHOOK_TOKEN.upper()):
        assert await harness.deliver(LEAD, token=token) == ingest_answer("unknown_token")
    assert harness.count("pancake_webhook_event") == 0


async def test_a_rotated_token_is_accepted_for_deliveries_that_arrived_in_its_grace_period(
    harness: HandlerHarness,
) -> None:
    now = harness.clock.now()
    harness.sql(
        "UPDATE pancake_connection SET token_sha256 = %s, previous_token_sha256 = token_sha256,"
        " previous_token_expires_at = %s",
        sha256(b"the new token").digest(),
        now + timedelta(hours=24),
    )
    assert (await harness.deliver(LEAD, token="the new token"))["status"] == "received"
    assert (await harness.deliver(LEAD | {"id": "b"}))["status"] == "received"
    harness.clock.ahead = timedelta(hours=25)
    assert (await harness.deliver(LEAD | {"id": "c"}))["status"] == "unknown_token"
    spooled = (now + timedelta(hours=23)).isoformat()
    assert (await harness.deliver(LEAD | {"id": "c"}, arrived_at=spooled))["status"] == "received"
    assert (await harness.deliver(LEAD | {"id": "d"}, token="the new token"))["status"] == "received"


async def test_an_arrival_in_the_future_counts_as_now(harness: HandlerHarness) -> None:
    found = await harness.deliver(LEAD, arrived_at="2999-01-01T00:00:00Z")
    assert harness.event(found["event_id"])["arrived_at"] <= datetime.now(UTC)


async def test_an_arrival_is_at_most_seven_days_back(harness: HandlerHarness) -> None:
    """A caller that names the time of arrival cannot use a token that expired long ago."""
    now = harness.clock.now()
    found = await harness.deliver(LEAD, arrived_at="2020-01-01T00:00:00Z")
    assert timedelta() <= harness.event(found["event_id"])["arrived_at"] - (now - timedelta(days=7)) < MINUTE
    harness.sql(
        "UPDATE pancake_connection SET token_sha256 = %s, previous_token_sha256 = token_sha256,"
        " previous_token_expires_at = %s",
        sha256(b"the new token").digest(),
        now - timedelta(days=8),
    )
    long_ago = (now - timedelta(days=9)).isoformat()
    assert (await harness.deliver(LEAD | {"id": "b"}, arrived_at=long_ago))["status"] == "unknown_token"


@pytest.mark.parametrize("offset", ["+15:59", "+16:00", "-16:00", "+23:59"])
async def test_an_offset_that_postgresql_refuses_is_no_time(harness: HandlerHarness, offset: str) -> None:
    """Of the version and of the arrival: the delivery is stored as one without that time."""
    lead = LEAD | {"modified_on": f"2026-05-14T02:35:56{offset}", "created_on": "2026-05-14T01:00:00Z"}
    arrived_at = harness.clock.now().replace(tzinfo=None).isoformat() + offset
    event = harness.event((await harness.deliver(lead, arrived_at=arrived_at))["event_id"])
    expected = "2026-05-13T10:36:56" if offset == "+15:59" else "2026-05-14T01:00:00"
    assert event["modified_on"] == datetime.fromisoformat(f"{expected}Z")
    assert (harness.clock.now() - event["arrived_at"] < MINUTE) == (offset != "+15:59")


async def test_a_lost_connection_answers_503_and_the_next_delivery_is_stored(harness: HandlerHarness) -> None:
    assert (await harness.deliver(LEAD))["status"] == "received"
    harness.terminate_backends()
    codes = []
    body = base64.b64encode(json.dumps(LEAD | {"id": "b"}).encode()).decode()
    async with asyncio.timeout(20):
        while 200 not in codes:
            response = await harness.call_action({"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": body})
            codes.append(response.status_code)
            assert response.json().get("extensions") in (None, {"code": "database_unavailable"})
    assert set(codes) <= {200, 503}
    assert harness.count("pancake_webhook_event") == 2


async def test_metrics_count_deliveries_by_status(harness: HandlerHarness) -> None:
    await harness.deliver(LEAD)
    await harness.deliver(LEAD)
    await harness.deliver(LEAD, token="unknown")
    text = (await harness.client.get("/metrics")).text
    for status in ("received", "duplicate", "unknown_token"):
        assert f'pancake_webhook_requests_total{{status="{status}"}} 1.0' in text
    assert 'pancake_webhook_latency_seconds_count{hop="handler"} 3.0' in text
