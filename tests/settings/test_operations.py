"""The stored operations of the four Settings tabs, as an administrator of Diva uses them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.settings import ADMIN_ID
from tests.support.settings_tab import SettingsHarness

HANH = "c0000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def has_allow_list() -> bool:
    """Every operation here is a stored one, run as on an engine that allows no other."""
    return True


class TestConnectionAndSwitches:
    """The first tab: connection and switches."""

    async def test_it_shows_the_connection_and_which_secrets_are_set(self, harness: SettingsHarness) -> None:
        data = await harness.run("pancake_settings_connections")
        (connection,) = data["pancake_connection"]
        assert (connection["name"], connection["workspace_id"], connection["status"]) == (
            "Diva",
            607,
            "active",
        )
        secrets = [connection[f"has_{name}"] for name in ("api_key", "webhook_secret", "header_secret")]
        assert secrets == [True, False, False]
        assert connection["status_history"][0]["status_before"] == "silent"
        assert len(connection["newest_event"]) == 1
        (setting,) = data["view_pancake_setting"]
        assert setting == {
            "kill_switch": True,
            "processing_paused": False,
            "consent_mode": "off",
            "sla_minutes": 30,
            "payload_retention_days": 90,
            "held_retention_days": 365,
            "cron_run_retention_days": 180,
            "engine_log_retention_days": 7,
            "former_owner": "off",
            "recall_after_minutes": 0,
            "recall_max_times": 1,
            "max_tickets_ahead": 5,
            "business_hours": "always",
            "holidays": "none",
            "replay_rate_per_second": 20,
            "problems": [],
            "changed_at": None,
            "changed_by": None,
        }

    async def test_changing_a_setting_records_the_user(self, harness: SettingsHarness) -> None:
        data = await harness.run("pancake_settings_update_settings", set={"kill_switch": False})
        answer = data["update_view_pancake_setting"]
        assert answer["affected_rows"] == 1
        assert (answer["returning"][0]["kill_switch"], answer["returning"][0]["changed_by"]) == (
            False,
            ADMIN_ID,
        )
        stored = harness.one("SELECT app_settings FROM app_setting WHERE id = 1")["app_settings"]
        assert stored["pancake_integration"]["kill_switch"] is False
        assert stored["company"] == {"name": "Diva", "timezone": "Asia/Ho_Chi_Minh"}
        changed = datetime.fromisoformat(stored["pancake_integration"]["changed_at"])
        assert datetime.now(UTC) - changed < timedelta(minutes=1)

    async def test_changes_in_settings_and_by_sql_are_in_the_history(self, harness: SettingsHarness) -> None:
        connection = harness.one("SELECT id::text AS id FROM pancake_connection")
        change = {"allowlist_mode": "monitor"}
        await harness.run("pancake_settings_update_connection", id=connection["id"], set=change)
        await harness.run("pancake_settings_update_settings", set={"kill_switch": False})
        harness.sql("UPDATE pancake_connection SET allowlist_mode = 'off'")
        entries = (await harness.run("pancake_settings_history", limit=3))["integration_change"]
        assert [(entry["kind"], entry["changed_by"], entry["hasura_role"]) for entry in entries] == [
            ("connection", harness.session.info.user, None),
            ("setting", ADMIN_ID, "crm_admin"),
            ("connection", ADMIN_ID, "crm_admin"),
        ]
        assert [(entry["before"], entry["after"]) for entry in entries] == [
            ({"allowlist_mode": "monitor"}, {"allowlist_mode": "off"}),
            ({"kill_switch": True}, {"kill_switch": False}),
            ({"allowlist_mode": "off"}, {"allowlist_mode": "monitor"}),
        ]

    async def test_a_switch_may_be_turned_with_a_reason(self, harness: SettingsHarness) -> None:
        change = {"kill_switch": False, "change_reason": "go-live W1"}
        await harness.run("pancake_settings_update_settings", set=change)
        source = harness.one("SELECT id::text FROM pancake_source WHERE pancake_source_id = '-1'")["id"]
        for is_active, reason in ((False, "spam"), (True, None)):
            given = {"id": source, "is_active": is_active} | ({"reason": reason} if reason else {})
            await harness.run("pancake_settings_set_source_active", **given)
        entries = (await harness.run("pancake_settings_history", limit=3))["integration_change"]
        assert [(entry["kind"], entry["changed_by"], entry["reason"]) for entry in entries] == [
            ("source", ADMIN_ID, None), ("source", ADMIN_ID, "spam"), ("setting", ADMIN_ID, "go-live W1"),
        ]  # fmt: skip

    async def test_unreadable_settings_show_the_value_that_the_handlers_use(
        self, harness: SettingsHarness
    ) -> None:
        harness.change_settings(sla_minutes="soon", payload_retention_days=-1, kill_switch="off")
        (setting,) = (await harness.run("pancake_settings_connections"))["view_pancake_setting"]
        assert setting["kill_switch"] is True
        assert (setting["sla_minutes"], setting["payload_retention_days"]) == (30, 3650)
        assert setting["problems"] == [
            'kill_switch must be true or false, not "off"',
            "payload_retention_days must be 7 to 3650, not -1",
            'sla_minutes must be 1 to 1440, not "soon"',
        ]

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"kill_switch": None}, "kill_switch must be true or false, not null"),
            ({"consent_mode": "maybe"}, "consent_mode must be off or record"),
            ({"sla_minutes": 0}, "sla_minutes must be 1 to 1440"),
            ({"recall_after_minutes": 1441}, "recall_after_minutes must be 0 to 1440"),
            ({"recall_max_times": 0}, "recall_max_times must be 1 to 10"),
            ({"max_tickets_ahead": 0}, "max_tickets_ahead must be 1 to 100"),
            ({"former_owner": "maybe"}, "former_owner must be off or on"),
            ({"business_hours": "9 to 5"}, "business_hours must be always, or like: mon-fri 08:00-17:30"),
            ({"business_hours": "mon 25:00-26:00"}, "business_hours must be always, or like: mon-fri"),
            (
                {"business_hours": "mon 17:00-08:00"},
                "business_hours must not end before they begin",
            ),
            ({"holidays": "tomorrow"}, "holidays must be none, or like: 2027-02-05..2027-02-11"),
            ({"replay_rate_per_second": 0}, "replay_rate_per_second must be 1 to 1000"),
            ({"replay_rate_per_second": 5000}, "replay_rate_per_second must be 1 to 1000"),
            ({"payload_retention_days": 1}, "payload_retention_days must be 7 to 3650"),
            ({"cron_run_retention_days": 1}, "cron_run_retention_days must be 30 to 3650"),
            ({"engine_log_retention_days": 0}, "engine_log_retention_days must be 1 to 365"),
            ({"held_retention_days": 3651}, "held_retention_days must be 7 to 3650"),
            ({"held_retention_days": 30}, "held_retention_days must not be less than payload_retention_days"),
            ({"payload_retention_days": 400}, "held_retention_days must not be less than payload_"),
        ],
    )
    async def test_an_invalid_setting_is_refused_with_the_reason(
        self, shared_harness: SettingsHarness, change: dict[str, Any], reason: str
    ) -> None:
        before = shared_harness.sql("SELECT app_settings FROM app_setting")
        assert reason in await shared_harness.refusal("pancake_settings_update_settings", set=change)
        assert shared_harness.sql("SELECT app_settings FROM app_setting") == before

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"signature_mode": "enforce"}, "ck_pancake_connection_signature_secret"),
            ({"signature_mode": "maybe"}, "ck_pancake_connection_signature_mode"),
            ({"allowlist_mode": "enforce"}, "ck_pancake_connection_allowlist_ranges"),
            ({"record_timezone": "Asia/Ho_Chi_Minh"}, "record_timezone"),
            ({"api_base_url": "http://elsewhere"}, "api_base_url"),
            ({"status": "active"}, "status"),
        ],
    )
    async def test_an_invalid_connection_is_refused(
        self, shared_harness: SettingsHarness, change: dict[str, Any], reason: str
    ) -> None:
        connection = shared_harness.one("SELECT id::text FROM pancake_connection")
        operation = "pancake_settings_update_connection"
        refusal = await shared_harness.refusal(operation, id=connection["id"], set=change)
        assert reason in refusal

    async def test_the_allowlist_can_be_enforced_once_it_has_ranges(self, harness: SettingsHarness) -> None:
        connection = harness.one("SELECT id::text FROM pancake_connection")
        change = {"allowlist_mode": "enforce", "allowed_ip_ranges": "{203.0.113.0/24}", "name": "Diva 1"}
        data = await harness.run("pancake_settings_update_connection", id=connection["id"], set=change)
        assert data["update_pancake_connection_by_pk"]["allowlist_mode"] == "enforce"


class TestSourcesAndRosters:
    """The second tab: sources and rosters."""

    async def test_a_known_source_can_be_deactivated(self, harness: SettingsHarness) -> None:
        sources = (await harness.run("pancake_settings_sources"))["pancake_source"]
        facebook = next(source for source in sources if source["pancake_source_id"] == "-1")
        data = await harness.run("pancake_settings_set_source_active", id=facebook["id"], is_active=False)
        assert data["update_pancake_source_by_pk"]["is_active"] is False

    async def test_an_unknown_source_cannot_be_activated(self, harness: SettingsHarness) -> None:
        unknown = harness.one("SELECT id::text FROM pancake_source WHERE pancake_source_id = '777'")["id"]
        refusal = await harness.refusal("pancake_settings_set_source_active", id=unknown, is_active=True)
        assert "ck_pancake_source_active_is_known" in refusal
        harness.sql("UPDATE pancake_source SET name = 'Zalo', is_removed = true WHERE id = %s", unknown)
        refusal = await harness.refusal("pancake_settings_set_source_active", id=unknown, is_active=True)
        assert "check constraint of an insert/update permission has failed" in refusal

    async def test_a_removed_source_can_be_deactivated_but_not_activated(
        self, harness: SettingsHarness
    ) -> None:
        source = harness.one("SELECT id::text FROM pancake_source WHERE pancake_source_id = '-1'")["id"]
        harness.sql("UPDATE pancake_source SET is_active = true, is_removed = true WHERE id = %s", source)
        data = await harness.run("pancake_settings_set_source_active", id=source, is_active=False)
        assert data["update_pancake_source_by_pk"] == {"id": source, "is_active": False}
        refusal = await harness.refusal("pancake_settings_set_source_active", id=source, is_active=True)
        assert "check constraint of an insert/update permission has failed" in refusal

    async def test_the_pseudo_source_can_be_activated(self, harness: SettingsHarness) -> None:
        none = harness.one("SELECT id::text FROM pancake_source WHERE pancake_source_id = '(none)'")["id"]
        data = await harness.run("pancake_settings_set_source_active", id=none, is_active=True)
        assert data["update_pancake_source_by_pk"]["is_active"] is True

    async def test_roster_members_can_be_added_changed_and_removed(self, harness: SettingsHarness) -> None:
        source = harness.one("SELECT id::text FROM pancake_source WHERE pancake_source_id = '-1'")["id"]
        added = await harness.run("pancake_settings_add_assignee", source_id=source, staff_id=HANH)
        member = added["insert_pancake_assignee_one"]["id"]
        await harness.run("pancake_settings_add_assignee", staff_id=HANH, weight=3)
        data = await harness.run("pancake_settings_sources")
        (row,) = next(s["assignees"] for s in data["pancake_source"] if s["id"] == source)
        assert (row["staff"]["full_name"], row["weight"]) == ("Vũ Thị Hạnh", 1)
        assert [item["weight"] for item in data["default_roster"]] == [3]
        assert len(data["staff"]) == 11
        data = await harness.run(
            "pancake_settings_update_assignee", id=member, set={"weight": 5, "is_active": False}
        )
        assert data["update_pancake_assignee_by_pk"]["weight"] == 5
        limits = {"shift": "mon-fri 08:00-12:00, sat 08:00-10:00", "daily_cap": 20, "open_cap": None}
        data = await harness.run("pancake_settings_update_assignee", id=member, set=limits)
        assert {name: data["update_pancake_assignee_by_pk"][name] for name in limits} == limits
        await harness.run("pancake_settings_remove_assignee", id=member)
        assert len(harness.sql("SELECT id FROM pancake_assignee")) == 1

    async def test_an_invalid_roster_member_is_refused(self, harness: SettingsHarness) -> None:
        added = await harness.run("pancake_settings_add_assignee", staff_id=HANH)
        member = added["insert_pancake_assignee_one"]["id"]
        for weight in (0, -1, 101):
            refusal = await harness.refusal(
                "pancake_settings_update_assignee", id=member, set={"weight": weight}
            )
            assert "ck_pancake_assignee_weight" in refusal
        limits: list[dict[str, Any]] = [{"shift": "9 to 5"}, {"shift": "mon 17:00-08:00"}, {"open_cap": 0}]
        for change in limits:
            refusal = await harness.refusal("pancake_settings_update_assignee", id=member, set=change)
            assert re.search("ck_pancake_assignee_(shift|caps)", refusal)
        again = await harness.refusal("pancake_settings_add_assignee", staff_id=HANH)
        assert "uq_pancake_assignee" in again
        stranger = await harness.refusal("pancake_settings_add_assignee", staff_id=HANH[:-1] + "9")
        assert "fk_pancake_assignee_staff" in stranger
        counted = await harness.refusal(
            "pancake_settings_update_assignee", id=member, set={"assigned_count": 0}
        )
        assert "assigned_count" in counted


class TestDeadLettersAndReplay:
    """The third tab: dead letters and replay."""

    async def test_the_filtered_list_is_paginated(self, harness: SettingsHarness) -> None:
        pages = [await harness.run("pancake_settings_events", limit=2, offset=offset) for offset in (0, 2, 4)]
        rows = [row["id"] for page in pages for row in page["pancake_webhook_event"]]
        assert (len(rows), rows) == (5, sorted(rows, reverse=True))
        assert {page["pancake_webhook_event_aggregate"]["aggregate"]["count"] for page in pages} == {5}
        where = {"status": {"_eq": "dead_letter"}, "error_code": {"_eq": "invalid_phone"}}
        data = await harness.run("pancake_settings_events", where=where)
        assert data["pancake_webhook_event_aggregate"]["aggregate"]["count"] == 2

    async def test_one_event_shows_its_body_and_its_evidence(self, harness: SettingsHarness) -> None:
        event = harness.one("SELECT min(id) AS id FROM pancake_webhook_event")["id"]
        data = await harness.run("pancake_settings_event", id=event)
        assert data["pancake_webhook_event_by_pk"]["payload"]["id"] == "record-10"
        assert data["pancake_webhook_event_by_pk"]["evidence"] == {}

    async def test_a_replay_is_refused_with_the_kill_switch_on_and_works_with_it_off(
        self, harness: SettingsHarness
    ) -> None:
        criteria = {"status": "skipped_kill_switch"}
        refusal = await harness.refusal("pancake_settings_replay", filter=criteria)
        assert refusal == "The kill switch is on: turn it off before anything is replayed."
        await harness.run("pancake_settings_update_settings", set={"kill_switch": False})
        data = await harness.run("pancake_settings_replay", filter=criteria, dry_run=True)
        report = data["pancake_replay_events"]
        assert [item["result"] for item in report["changes"]] == ["ticket_created"] * 3
        data = await harness.run("pancake_settings_replay", filter=criteria, wait=False)
        report = data["pancake_replay_events"]
        assert (report["matched"], report["replayed"], report["held"]) == (3, 3, 0)
        assert (report["results"]["waiting"], report["processing_paused"]) == (3, False)
        row = harness.one(
            "SELECT DISTINCT status, replayed_by FROM pancake_webhook_event WHERE replay_count > 0"
        )
        assert row == {"status": "received", "replayed_by": ADMIN_ID}
        refusal = await harness.refusal("pancake_settings_replay", filter={})
        assert refusal == "filter names neither status, error_code nor source_id."

    async def test_a_trace_says_what_happened_to_the_leads_of_a_text(self, harness: SettingsHarness) -> None:
        data = await harness.run("pancake_settings_trace", text="record-10")
        (story,) = data["pancake_trace_lead"]["leads"]
        assert (story["record_id"], story["reason"]) == ("record-10", "kill_switch")
        assert story["next"].startswith("leads switch kill off --reason TEXT, then: leads replay ")
        assert data["pancake_trace_lead"]["has_ticket"] is False
        refusal = await harness.refusal("pancake_settings_trace", text=" ")
        assert refusal.startswith("Give a phone, a record id, a ticket code or an event id")
