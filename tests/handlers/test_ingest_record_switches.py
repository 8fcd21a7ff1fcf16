"""ingest_record holds deliveries: kill switch, inactive sources."""

from hashlib import sha256

import pytest

from tests.support.handlers import HandlerHarness, ingest_answer
from tests.support.leads import LEAD


@pytest.mark.test_case("TC-011")
async def test_the_kill_switch_holds_new_deliveries(harness: HandlerHarness) -> None:
    harness.change_settings(kill_switch=True)
    found = await harness.deliver(LEAD)
    event = harness.event(found["event_id"])
    assert found == ingest_answer("skipped_kill_switch", event["id"])
    assert (event["status"], event["held_at"] is not None) == ("skipped_kill_switch", True)
    harness.change_settings(kill_switch=False)
    assert (await harness.deliver(LEAD | {"id": "b"}))["status"] == "received"


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


async def test_a_missing_or_unreadable_kill_switch_counts_as_on(harness: HandlerHarness) -> None:
    waiting = [(await harness.deliver(LEAD | {"id": statement}))["event_id"] for statement in UNREADABLE]
    for event_id, statement in zip(waiting, UNREADABLE, strict=True):
        harness.sql(statement)
        assert (await harness.deliver(LEAD | {"id": f"late {statement}"}))["status"] == "skipped_kill_switch"
        assert await harness.process(event_id) == "skipped_kill_switch"


@pytest.mark.test_case("TC-012")
async def test_a_record_is_active_if_any_of_its_sources_is(harness: HandlerHarness) -> None:
    assert (await harness.deliver(LEAD | {"source": ["-3"]}))["status"] == "skipped_source_disabled"
    assert (await harness.deliver(LEAD | {"source": ["-3", "-1"]}))["status"] == "received"
    harness.sql("UPDATE pancake_source SET is_active = true WHERE pancake_source_id = '-3'")
    assert (await harness.deliver(LEAD | {"id": "b", "source": [-3]}))["status"] == "received"


async def test_a_record_without_a_source_belongs_to_the_initially_inactive_pseudo_source(
    harness: HandlerHarness,
) -> None:
    nothing: list[object] = [None, [], "", {}]
    for n, source in enumerate(nothing):
        found = await harness.deliver(LEAD | {"id": f"before-{n}", "source": source})
        assert found["status"] == "skipped_source_disabled"
    harness.sql("UPDATE pancake_source SET is_active = true WHERE pancake_source_id = '(none)'")
    for n, source in enumerate(nothing):
        assert (await harness.deliver(LEAD | {"id": f"after-{n}", "source": source}))["status"] == "received"


async def test_sources_are_looked_up_per_connection(harness: HandlerHarness) -> None:
    harness.sql(
        "INSERT INTO pancake_connection (name, workspace_id, token_sha256) VALUES ('other', 9, %s)",
        sha256(b"other token").digest(),
    )
    assert (await harness.deliver(LEAD, token="other token"))["status"] == "skipped_source_disabled"
