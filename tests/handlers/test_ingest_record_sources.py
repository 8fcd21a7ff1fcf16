"""ingest_record and sources that it does not know: proof, cap, and what happens to the leads."""

import asyncio
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from tests.support.handlers import HandlerHarness
from tests.support.leads import LEAD

CAP = 20
"""Sources that deliveries may create per connection and hour."""


def invented(number: int, start: int = 0) -> list[str]:
    return [f"9{n:04}" for n in range(start, start + number)]


def created(harness: HandlerHarness) -> list[dict[str, Any]]:
    return harness.sql("SELECT * FROM pancake_source WHERE name IS NULL ORDER BY pancake_source_id")


async def test_a_proved_delivery_creates_its_source_inactive_and_notifies_no_one_itself(
    harness: HandlerHarness,
) -> None:
    harness.enforce_header()
    answers = await asyncio.gather(
        *(harness.deliver(LEAD | {"id": f"r-{n}", "source": ["777"]}) for n in range(20))
    )
    assert {answer["status"] for answer in answers} == {"skipped_source_disabled"}
    (source,) = created(harness)
    assert (source["pancake_source_id"], source["is_active"], source["is_removed"]) == ("777", False, False)
    assert [harness.event(answer["event_id"])["notifications"] for answer in answers] == [[]] * 20
    assert "held_by" not in harness.event(answers[0]["event_id"])["evidence"]


@pytest.mark.parametrize("mode", ["off", "monitor"])
async def test_an_unproved_delivery_creates_no_source_and_its_lead_is_stored(
    harness: HandlerHarness, mode: str
) -> None:
    harness.enforce_header()
    harness.sql("UPDATE pancake_connection SET signature_mode = %s", mode)
    answer = await harness.deliver(LEAD | {"source": invented(50)})
    event = harness.event(answer["event_id"])
    assert answer["status"] == "skipped_source_disabled"
    assert (created(harness), event["notifications"]) == ([], [])
    assert (event["evidence"]["held_by"], event["source_ids"]) == ("source_unknown", invented(50))


async def test_deliveries_create_at_most_twenty_sources_an_hour(harness: HandlerHarness) -> None:
    harness.enforce_header()
    answers = [
        await harness.deliver(LEAD | {"id": f"r-{n}", "source": invented(50, 50 * n)}) for n in range(3)
    ]
    assert {answer["status"] for answer in answers} == {"skipped_source_disabled"}
    assert [source["pancake_source_id"] for source in created(harness)] == invented(CAP)
    assert [harness.event(answer["event_id"])["evidence"].get("held_by") for answer in answers] == [
        None, "source_unknown", "source_unknown",
    ]  # fmt: skip
    harness.clock.ahead += timedelta(minutes=61)
    await harness.deliver(LEAD | {"id": "later", "source": ["95000"]})
    assert created(harness)[-1]["pancake_source_id"] == "95000"


async def test_a_source_that_pancake_named_leaves_its_place_and_one_marked_as_removed_does_not(
    harness: HandlerHarness,
) -> None:
    harness.enforce_header()
    await harness.deliver(LEAD | {"source": invented(CAP)})
    harness.sql("UPDATE pancake_source SET is_removed = true, synced_at = now() WHERE name IS NULL")
    await harness.deliver(LEAD | {"id": "b", "source": ["95000"]})
    assert len(created(harness)) == CAP
    harness.sql("UPDATE pancake_source SET name = 'Fair' WHERE pancake_source_id = %s", invented(1)[0])
    await harness.deliver(LEAD | {"id": "c", "source": ["95000"]})
    assert created(harness)[-1]["pancake_source_id"] == "95000"


async def test_each_connection_has_its_cap(harness: HandlerHarness) -> None:
    harness.enforce_header()
    harness.sql(
        "INSERT INTO pancake_connection (name, workspace_id, token_sha256, signature_mode,"
        " header_secret_encrypted) VALUES ('other', 9, %s, 'enforce', 'sealed')",
        sha256(b"other token").digest(),
    )
    await harness.deliver(LEAD | {"source": invented(50)})
    await harness.deliver(LEAD | {"source": invented(50)}, token="other token")
    assert len(created(harness)) == 2 * CAP


async def test_the_pseudo_source_is_created_without_a_proof_and_over_the_cap(harness: HandlerHarness) -> None:
    await harness.deliver(LEAD | {"source": None})
    assert [source["pancake_source_id"] for source in created(harness)] == ["(none)"]


async def test_a_lead_of_an_unknown_source_becomes_a_ticket_once_the_source_is_known_and_active(
    harness: HandlerHarness,
) -> None:
    answer = await harness.deliver(LEAD | {"source": ["777"]})
    event_id = answer["event_id"]
    assert await harness.process(event_id) == "already_held"
    harness.sql(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " VALUES (%s, '777', 'Fair', true)",
        harness.connection_id,
    )
    assert (await harness.replay(ids=[event_id]))["replayed"] == 1
    assert await harness.process(event_id, "UPDATE") == "ticket_created"
    assert "held_by" not in harness.event(event_id)["evidence"]


async def test_the_kill_switch_holds_a_lead_of_an_unknown_source_under_its_own_name(
    harness: HandlerHarness,
) -> None:
    harness.change_settings(kill_switch=True)
    answer = await harness.deliver(LEAD | {"source": ["777"]})
    assert answer["status"] == "skipped_kill_switch"
    assert "held_by" not in harness.event(answer["event_id"])["evidence"]


async def test_a_body_without_table_and_source_has_the_sources_of_the_lead_of_its_record(
    harness: HandlerHarness,
) -> None:
    harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    await harness.deliver(LEAD | {"table_id": "lead"})
    later = {key: value for key, value in LEAD.items() if key != "source"} | {"full_name": "Later"}
    answer = await harness.deliver(later)
    assert harness.event(answer["event_id"])["table_name"] is None
    assert (answer["status"], harness.event(answer["event_id"])["source_ids"]) == ("received", ["-1"])
    of_a_contact = await harness.deliver(later | {"table_id": "contact"})
    assert harness.event(of_a_contact["event_id"])["source_ids"] == ["(none)"]
