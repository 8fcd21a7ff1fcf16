"""What holds a lead: the kill switch, its sources, a disabled connection; at delivery, claim and work.

And which sources a delivery may create: those of proved ones, up to a cap.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leads.domain.listing import read_listed_leads
from leads.services.connections import load_connections
from leads.services.ingest_record import Origin
from leads.services.missing_leads import store_missing
from leads.services.process_record import Claim, DeliveryResult, claim_event, process_claim
from tests.support.handlers import HandlerHarness, ingest_answer
from tests.support.leads import LEAD
from tests.support.processing import insert_connection, stored
from tests.support.settings import EDGE_SECRET

CAP = 20
"""Sources that deliveries may create per connection and hour."""
HELD = "skipped_source_disabled"
TOKEN = "other token"


async def status(harness: HandlerHarness, token: str | None = None, **fields: Any) -> str:
    """Deliver LEAD with these fields changed; return the status."""
    return str(harness.event(await stored(harness, token, **fields))["status"])


def set_connection(harness: HandlerHarness, status: str) -> None:
    harness.sql("UPDATE pancake_connection SET status = %s", status)


def held_by(harness: HandlerHarness, event_id: int) -> str | None:
    by: str | None = harness.event(event_id)["evidence"].get("held_by")
    return by


# The kill switch


@pytest.mark.test_case("TC-011")
async def test_the_kill_switch_holds_new_deliveries(harness: HandlerHarness) -> None:
    """A lead of an unknown source too, under its own name."""
    harness.change_settings(kill_switch=True)
    found = await harness.deliver(LEAD | {"source": ["777"]})
    event = harness.event(found["event_id"])
    assert found == ingest_answer("skipped_kill_switch", event["id"])
    assert (event["status"], event["held_at"] is not None) == ("skipped_kill_switch", True)
    assert "held_by" not in event["evidence"]
    harness.change_settings(kill_switch=False)
    assert await status(harness, id="b") == "received"


async def test_a_missing_or_unreadable_kill_switch_counts_as_on(harness: HandlerHarness) -> None:
    unreadable = (
        'UPDATE app_setting SET app_settings = \'{"pancake_integration": {"kill_switch": "off"}}\'',
        "UPDATE app_setting SET app_settings = '[]'",
        "DELETE FROM app_setting",
    )
    waiting = [await stored(harness, id=statement) for statement in unreadable]
    for event_id, statement in zip(waiting, unreadable, strict=True):
        harness.sql(statement)
        assert await status(harness, id=f"late {statement}") == "skipped_kill_switch"
        assert await harness.process(event_id) == "skipped_kill_switch"


# After the delivery


async def test_the_switches_are_read_again_at_the_claim(harness: HandlerHarness) -> None:
    first, second, third = [await stored(harness, id=id_) for id_ in "abc"]
    harness.change_settings(kill_switch=True)
    assert await harness.process(first) == "skipped_kill_switch"
    harness.change_settings(kill_switch=False)
    harness.sql("UPDATE pancake_source SET is_active = false")
    assert await harness.process(second) == HELD
    harness.sql("UPDATE pancake_source SET is_active = true")
    set_connection(harness, "disabled")
    assert await harness.process(third) == HELD
    for event_id in (first, second, third):
        event = harness.event(event_id)
        assert (event["attempts"], event["ingested_at"], event["claim_id"]) == (0, None, None)
        assert event["held_at"] is not None
    assert held_by(harness, third) == "connection_disabled"
    assert harness.count_tickets() == 0


async def test_a_switch_turned_between_claim_and_work_holds_the_row(
    harness: HandlerHarness, subtests: pytest.Subtests
) -> None:
    for statement, expected, held in (
        ("UPDATE pancake_source SET is_active = false", HELD, None),
        ("UPDATE pancake_connection SET status = 'disabled'", HELD, "connection_disabled"),
        ("DELETE FROM app_setting", "skipped_kill_switch", None),
    ):
        with subtests.test(statement=statement, expected=expected):
            event_id = await stored(harness, id=statement)
            runtime = harness.runtime
            claim = await claim_event(runtime.db, event_id)
            assert isinstance(claim, Claim)
            harness.sql(statement)
            result = await process_claim(runtime.db, runtime.clock, runtime.digester, claim)
            assert result == DeliveryResult(expected)
            assert (harness.event(event_id)["status"], harness.count_tickets()) == (expected, 0)
            assert held_by(harness, event_id) == held
            harness.sql("UPDATE pancake_source SET is_active = true")
            set_connection(harness, "active")


# A disabled connection


async def test_a_disabled_connection_holds_and_the_evidence_says_why(harness: HandlerHarness) -> None:
    """A dead letter and the kill switch go before; the edge goes on accepting its token."""
    insert_connection(harness, TOKEN)
    harness.sql("UPDATE pancake_connection SET status = 'disabled' WHERE name = 'other'")
    disabled, inactive = await stored(harness, TOKEN), await stored(harness, source=["-3"])
    assert (held_by(harness, disabled), held_by(harness, inactive)) == ("connection_disabled", None)
    event = harness.event(disabled)
    assert (event["status"], event["held_at"] is not None) == (HELD, True)
    for other_status in ("active", "silent", "suspended", "outage", "key_invalid"):
        harness.sql("UPDATE pancake_connection SET status = %s WHERE name <> 'other'", other_status)
        assert await status(harness, id=other_status) == "received", "another connection goes on"
    assert (await harness.deliver("no JSON", token=TOKEN))["status"] == "dead_letter"
    harness.change_settings(kill_switch=True)
    assert await status(harness, TOKEN, id="b") == "skipped_kill_switch"
    answer = await harness.client.get("/edge/policy", headers={"X-Edge-Secret": EDGE_SECRET})
    assert len(answer.json()["connections"]) == 2


async def test_what_polling_and_reconciliation_store_is_held_too(
    harness: HandlerHarness, subtests: pytest.Subtests
) -> None:
    """Possible if the connection is disabled while its list is read."""
    (connection,) = await load_connections(harness.runtime.db, harness.runtime.settings.key_ring)
    set_connection(harness, "disabled")
    origins: tuple[Origin, ...] = ("poll", "reconcile")
    for origin in origins:
        with subtests.test(origin=origin):
            listed = read_listed_leads([LEAD | {"id": origin}], "lead", UTC)
            now, digester = datetime.now(UTC), harness.runtime.digester
            ((_, row),) = await store_missing(harness.runtime.db, connection, listed, origin, now, digester)
            assert row.status == HELD


async def test_held_leads_are_replayed_once_connection_and_source_are_active(harness: HandlerHarness) -> None:
    unknown = await stored(harness, id="unknown", source=["777"])
    assert await harness.process(unknown) == "already_held"
    set_connection(harness, "disabled")
    ids = [unknown, *[await stored(harness, id=f"r{n}") for n in range(3)]]
    report = await harness.replay(filter={"status": HELD})
    assert (report["replayed"], {item["reason"] for item in report["refused"]}) == (0, {"source_disabled"})
    set_connection(harness, "active")
    harness.sql(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " VALUES (%s, '777', 'Fair', true)",
        harness.connection_id,
    )
    assert (await harness.replay(filter={"status": HELD}, wait=False))["replayed"] == 4
    results = await harness.process_received()
    assert results == dict.fromkeys(ids, "ticket_updated") | {unknown: "ticket_created"}
    assert [held_by(harness, event_id) for event_id in ids] == [None] * 4


# Sources


@pytest.mark.test_case("TC-012")
async def test_a_record_is_active_if_any_of_its_sources_is(harness: HandlerHarness) -> None:
    insert_connection(harness, TOKEN)
    harness.sql(
        "UPDATE pancake_source SET pancake_source_id = '-9' WHERE connection_id <> %s", harness.connection_id
    )
    assert await status(harness, TOKEN) == HELD, "sources are looked up per connection"
    assert await status(harness, source=["-3"]) == HELD
    assert await status(harness, source=["-3", "-1"]) == "received"
    harness.sql("UPDATE pancake_source SET is_active = true WHERE pancake_source_id = '-3'")
    assert await status(harness, id="b", source=[-3]) == "received"


async def test_a_record_without_a_source_belongs_to_the_pseudo_source(harness: HandlerHarness) -> None:
    """It is created without a proof, and over the cap."""
    nothing: list[object] = [None, [], "", {}]
    for n, source in enumerate(nothing):
        assert await status(harness, id=f"before-{n}", source=source) == HELD
    assert created(harness) == ["(none)"]
    harness.sql("UPDATE pancake_source SET is_active = true WHERE pancake_source_id = '(none)'")
    for n, source in enumerate(nothing):
        assert await status(harness, id=f"after-{n}", source=source) == "received"


def invented(number: int, start: int = 0) -> list[str]:
    return [f"9{n:04}" for n in range(start, start + number)]


def created(harness: HandlerHarness) -> list[str]:
    """Return the sources that deliveries created."""
    rows = harness.sql("SELECT pancake_source_id AS id FROM pancake_source WHERE name IS NULL ORDER BY 1")
    return [row["id"] for row in rows]


async def test_a_proved_delivery_creates_its_source_inactive(harness: HandlerHarness) -> None:
    harness.enforce_header()
    ids = await asyncio.gather(*(stored(harness, id=f"r-{n}", source=["777"]) for n in range(20)))
    events = [harness.event(event_id) for event_id in ids]
    assert {event["status"] for event in events} == {HELD}
    source = harness.one("SELECT * FROM pancake_source WHERE name IS NULL")
    assert (source["pancake_source_id"], source["is_active"], source["is_removed"]) == ("777", False, False)
    assert [event["notifications"] for event in events] == [[]] * 20
    assert "held_by" not in events[0]["evidence"]


async def test_an_unproved_delivery_creates_no_source_and_its_lead_is_stored(
    harness: HandlerHarness, subtests: pytest.Subtests
) -> None:
    harness.enforce_header()
    for mode in ("off", "monitor"):
        with subtests.test(mode=mode):
            harness.sql("UPDATE pancake_connection SET signature_mode = %s", mode)
            event = harness.event(await stored(harness, id=mode, source=invented(50)))
            assert (event["status"], created(harness), event["notifications"]) == (HELD, [], [])
            assert (event["evidence"]["held_by"], event["source_ids"]) == ("source_unknown", invented(50))


async def test_a_connection_gets_at_most_twenty_sources_an_hour(harness: HandlerHarness) -> None:
    insert_connection(harness, TOKEN)
    harness.enforce_header()
    ids = [await stored(harness, id=f"r-{n}", source=invented(50, 50 * n)) for n in range(3)]
    assert created(harness) == invented(CAP)
    assert [held_by(harness, event_id) for event_id in ids] == [None, "source_unknown", "source_unknown"]
    await stored(harness, TOKEN, source=invented(50))
    assert len(created(harness)) == 2 * CAP
    harness.clock.ahead += timedelta(minutes=61)
    assert await status(harness, id="later", source=["95000"]) == HELD
    assert created(harness)[-1] == "95000"


async def test_a_source_that_pancake_named_leaves_its_place(harness: HandlerHarness) -> None:
    harness.enforce_header()
    await stored(harness, source=invented(CAP))
    harness.sql("UPDATE pancake_source SET is_removed = true, synced_at = now() WHERE name IS NULL")
    await stored(harness, id="b", source=["95000"])
    assert len(created(harness)) == CAP
    harness.sql("UPDATE pancake_source SET name = 'Fair' WHERE pancake_source_id = %s", invented(1)[0])
    await stored(harness, id="c", source=["95000"])
    assert created(harness)[-1] == "95000"


async def test_a_body_without_table_and_source_has_those_of_its_record(harness: HandlerHarness) -> None:
    harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    await stored(harness, table_id="lead")
    later = {key: value for key, value in LEAD.items() if key != "source"} | {"full_name": "Later"}
    answer = await harness.deliver(later)
    event = harness.event(answer["event_id"])
    assert (answer["status"], event["table_name"], event["source_ids"]) == ("received", None, ["-1"])
    of_a_contact = await harness.deliver(later | {"table_id": "contact"})
    assert harness.event(of_a_contact["event_id"])["source_ids"] == ["(none)"]
