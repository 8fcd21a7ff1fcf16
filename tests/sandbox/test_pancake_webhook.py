"""The simulator's webhook: body shapes, headers, retries, suspension."""

import hashlib
import hmac
import json
from datetime import timedelta

import pytest

from tests.support.pancake_simulator import (
    SCHEMAS,
    Simulator,
    conforms,
)


@pytest.mark.parametrize("shape", ["documented", "flat", "enveloped"])
async def test_webhook_bodies_conform_in_each_shape(simulator: Simulator, shape: str) -> None:
    simulator.workspace.sender.settings.shape = shape
    for _ in range(20):
        simulator.workspace.new_lead()
    await simulator.workspace.sender.idle()
    for body in simulator.receiver.bodies():
        record = body["data"] if shape == "enveloped" else body
        conforms(record, SCHEMAS["components"]["schemas"]["RecordPayload"])
        assert "interested_product" not in record
        assert ("workspace_id" in record) == (shape != "documented")


async def test_dropped_doubled_and_delayed_webhooks_are_counted(simulator: Simulator) -> None:
    simulator.workspace.faults.change({"drop": 0.3, "duplicate": 0.1, "delay": 0.1, "delay_seconds": 0})
    await simulator.http.post("/control/leads", json={"count": 500})
    await simulator.http.post("/control/webhook/idle")
    counts = (await simulator.http.get("/control/state")).json()["counts"]
    assert 100 < counts["dropped"] < 200
    assert 20 < counts["doubled"] < 60
    assert counts["requests"] == counts["events"] - counts["dropped"] + counts["doubled"]
    assert len(simulator.receiver.requests) == counts["requests"]


async def test_deliveries_carry_the_custom_headers_and_a_signature_over_time_and_body(
    simulator: Simulator,
) -> None:
    settings = {"headers": {"X-Webhook-Token": "abc"}, "secret": "s3cret"}
    shown = (await simulator.http.post("/control/webhook", json=settings)).json()
    assert "s3cret" not in json.dumps(shown)
    simulator.workspace.new_lead()
    await simulator.workspace.sender.idle()
    (request,) = simulator.receiver.requests
    stamp = request.headers["X-Pancake-Timestamp"]
    signed = hmac.new(b"s3cret", stamp.encode() + b"." + request.content, hashlib.sha256).hexdigest()
    assert request.headers["X-Pancake-Signature"] == signed
    assert request.headers["X-Webhook-Token"] == "abc"


async def test_a_failed_delivery_is_tried_twice_more(simulator: Simulator) -> None:
    simulator.receiver.status = 500
    simulator.workspace.new_lead()
    await simulator.workspace.sender.idle()
    assert len(simulator.receiver.requests) == 3
    assert simulator.workspace.sender.counts["given_up"] == 1


async def test_the_webhook_is_suspended_at_300_failures_above_80_percent_and_sends_only_new_events_after(
    simulator: Simulator,
) -> None:
    simulator.workspace.sender.settings.retry_seconds = []
    simulator.receiver.status = 503
    sender = simulator.workspace.sender
    for _ in range(299):
        simulator.workspace.new_lead()
    await sender.idle()
    assert sender.enabled
    simulator.workspace.new_lead()
    await sender.idle()
    assert not sender.enabled
    simulator.workspace.new_lead()
    await sender.idle()
    assert len(simulator.receiver.requests) == 300
    simulator.receiver.status = 200
    await simulator.http.post("/control/webhook/enable")
    last = simulator.workspace.new_lead()
    await sender.idle()
    assert len(simulator.receiver.requests) == 301
    assert list(sender.delivered) == [last["id"]]


async def test_failures_older_than_thirty_minutes_or_below_80_percent_suspend_nothing(
    simulator: Simulator,
) -> None:
    simulator.workspace.sender.settings.retry_seconds = []
    sender = simulator.workspace.sender
    for status, count, minutes in ((503, 299, 0), (200, 75, 31), (503, 299, 0), (503, 1, 0)):
        simulator.clock.time += timedelta(minutes=minutes)
        simulator.receiver.status = status
        for _ in range(count):
            simulator.workspace.new_lead()
        await sender.idle()
    assert sender.enabled


async def test_the_control_api_lists_what_was_written_and_delivered(simulator: Simulator) -> None:
    (made,) = (await simulator.http.post("/control/leads", json={"count": 1})).json()["record_ids"]
    assert (await simulator.http.post("/control/edits", json={"count": 1})).json()["record_ids"] == [made]
    await simulator.workspace.sender.idle()
    lines = (await simulator.http.get("/control/records")).text.splitlines()
    (line,) = map(json.loads, lines)
    assert line["record"]["id"] == made
    assert len(line["delivered"]) == 2
    assert (await simulator.http.post("/control/edits", json={"record_ids": ["?"]})).status_code == 404
