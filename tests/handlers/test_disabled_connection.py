"""A disabled connection: its leads are held, whichever way they come, and can be replayed afterwards."""

from datetime import UTC, datetime

import httpx
import pytest

from handlers.process_record import Processed, process_claim
from leads.domain.listing import read_listed_leads
from leads.services.connections import load_connections
from leads.services.ingest_record import Origin
from leads.services.pancake_lists import store_missing
from leads.services.process_record.claim import claim_event
from tests.support.handlers import HandlerHarness
from tests.support.leads import LEAD
from tests.support.settings import EDGE_SECRET

HELD = "skipped_source_disabled"


def set_status(harness: HandlerHarness, status: str) -> None:
    harness.sql("UPDATE pancake_connection SET status = %s", status)


async def test_a_delivery_is_held_and_its_evidence_says_why(harness: HandlerHarness) -> None:
    set_status(harness, "disabled")
    answer = await harness.deliver(LEAD)
    assert answer["status"] == HELD
    event = harness.event(answer["event_id"])
    assert (event["status"], event["held_at"] is not None) == (HELD, True)
    assert event["evidence"]["held_by"] == "connection_disabled"
    set_status(harness, "active")
    source = await harness.deliver(LEAD | {"id": "other", "source": ["-3"]})
    assert "held_by" not in harness.event(source["event_id"])["evidence"]


@pytest.mark.parametrize("origin", ["poll", "reconcile"])
async def test_what_polling_and_reconciliation_store_is_held_too(
    harness: HandlerHarness, origin: Origin
) -> None:
    """Possible if the connection is disabled while its list is read."""
    (connection,) = await load_connections(harness.runtime.db, harness.runtime.settings.key_ring)
    set_status(harness, "disabled")
    listed = read_listed_leads([LEAD], "lead", UTC)
    now, digester = datetime.now(UTC), harness.runtime.digester
    ((_, stored),) = await store_missing(harness.runtime.db, connection, listed, origin, now, digester)
    assert stored.status == HELD


@pytest.mark.parametrize("status", ["active", "silent", "suspended", "outage", "key_invalid"])
async def test_every_other_status_accepts_leads(harness: HandlerHarness, status: str) -> None:
    set_status(harness, status)
    assert (await harness.deliver(LEAD))["status"] == "received"


async def test_a_waiting_event_is_held_at_the_claim(harness: HandlerHarness) -> None:
    event_id = (await harness.deliver(LEAD))["event_id"]
    set_status(harness, "disabled")
    assert await harness.process(event_id) == HELD
    event = harness.event(event_id)
    assert (event["attempts"], event["evidence"]["held_by"]) == (0, "connection_disabled")
    assert harness.count_tickets() == 0


async def test_an_event_is_held_if_its_connection_is_disabled_after_the_claim(
    harness: HandlerHarness,
) -> None:
    event_id = (await harness.deliver(LEAD))["event_id"]
    claim = await claim_event(harness.runtime.db, event_id)
    assert claim is not None
    set_status(harness, "disabled")
    assert await process_claim(harness.runtime, claim) == Processed(HELD)
    assert harness.event(event_id)["evidence"]["held_by"] == "connection_disabled"
    assert harness.count_tickets() == 0


async def test_held_leads_are_replayed_once_the_connection_is_enabled(harness: HandlerHarness) -> None:
    set_status(harness, "disabled")
    ids = [(await harness.deliver(LEAD | {"id": f"r{n}"}))["event_id"] for n in range(3)]
    report = await harness.replay(filter={"status": HELD})
    assert (report["replayed"], {item["reason"] for item in report["refused"]}) == (0, {"source_disabled"})
    set_status(harness, "active")
    assert (await harness.replay(filter={"status": HELD}))["replayed"] == 3
    results = await harness.process_received()
    assert set(results) == set(ids)
    assert "ticket_created" in results.values()
    assert all("held_by" not in harness.event(event_id)["evidence"] for event_id in ids)


async def test_a_failed_event_is_held_when_it_is_tried_again(harness: HandlerHarness) -> None:
    harness.refuse_tickets("RAISE EXCEPTION 'x'", times=1)
    event_id, _ = await harness.process_lead()
    assert harness.event(event_id)["status"] == "failed"
    set_status(harness, "disabled")
    await harness.recover()
    assert harness.event(event_id)["status"] == HELD


async def test_a_dead_letter_and_the_kill_switch_go_before(harness: HandlerHarness) -> None:
    set_status(harness, "disabled")
    assert (await harness.deliver("no JSON"))["status"] == "dead_letter"
    harness.change_settings(kill_switch=True)
    assert (await harness.deliver(LEAD))["status"] == "skipped_kill_switch"


async def test_another_connection_goes_on(harness: HandlerHarness) -> None:
    harness.sql(
        "WITH other AS (INSERT INTO pancake_connection (name, workspace_id, token_sha256, status)"
        " VALUES ('other', 9, sha256('other token'), 'disabled') RETURNING id)"
        " INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " SELECT id, '-1', 'Facebook', true FROM other"
    )
    assert (await harness.deliver(LEAD, token="other token"))["status"] == HELD
    assert (await harness.deliver(LEAD | {"id": "other"}))["status"] == "received"


async def test_the_edge_goes_on_accepting_its_token(harness: HandlerHarness) -> None:
    set_status(harness, "disabled")
    answer: httpx.Response = await harness.client.get("/edge/policy", headers={"X-Edge-Secret": EDGE_SECRET})
    assert [connection["id"] for connection in answer.json()["connections"]] == [harness.connection_id]
