"""ingest_record holds deliveries: kill switch, inactive and unknown sources."""

import asyncio
from hashlib import sha256

from tests.support.handlers import HandlerHarness, ingest_answer
from tests.support.leads import LEAD


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


async def test_an_unknown_source_is_stored_inactive_and_admins_are_notified_once(
    harness: HandlerHarness,
) -> None:
    answers = await asyncio.gather(
        *(harness.deliver(LEAD | {"id": f"r-{n}", "source": ["777"]}) for n in range(20))
    )
    assert {a["status"] for a in answers} == {"skipped_source_disabled"}
    source = harness.one("SELECT * FROM pancake_source WHERE pancake_source_id = '777'")
    assert (source["is_active"], source["is_removed"]) == (False, False)
    assert [await harness.process(a["event_id"]) for a in answers] == ["not_received"] * 20
    (sent,) = harness.hasura.sent.values()
    assert sent["template_code"] == "noti_pancake_needs_attention"
    assert sent["data"] == {"reason": "new_source", "detail": "777"}
    admins = harness.sql("SELECT id::text FROM staff WHERE role = 'admin' AND is_active ORDER BY id")
    assert sorted(sent["recipient_ids"]) == [row["id"] for row in admins]


async def test_a_new_source_without_an_active_admin_is_logged_and_counted_and_its_notification_not_stored(
    harness: HandlerHarness, capture_logs: list[str]
) -> None:
    harness.sql("UPDATE staff SET is_active = false WHERE role = 'admin'")
    found = await harness.deliver(LEAD | {"source": ["-1", "777", "888"]})
    assert harness.event(found["event_id"])["notifications"] == []
    for name in ("source_new_777", "source_new_888"):
        assert sum("notification dropped" in line and name in line for line in capture_logs) == 1
    metrics = harness.runtime.metrics.exposition().decode()
    assert 'pancake_notifications_total{result="dropped"} 2.0' in metrics


async def test_admins_are_notified_of_a_new_source_beside_an_active_one_on_processing(
    harness: HandlerHarness,
) -> None:
    event_id, result = await harness.process_lead(source=["-1", "888"])
    assert result == "ticket_created"
    assert f"{event_id}:source_new_888" in harness.hasura.sent
    await harness.process_lead(id="another", source=["-1", "888"])
    assert sum("source_new" in key for key in harness.hasura.sent) == 1


async def test_sources_are_looked_up_per_connection(harness: HandlerHarness) -> None:
    harness.sql(
        "INSERT INTO pancake_connection (name, workspace_id, token_sha256) VALUES ('other', 9, %s)",
        sha256(b"other token").digest(),
    )
    assert (await harness.deliver(LEAD, token="other token"))["status"] == "skipped_source_disabled"
