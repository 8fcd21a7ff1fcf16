"""The stored operations of the Settings tabs and of our programs, on an engine that allows no other."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from graphql import parse, print_ast

from leads.adapters.graphql import SEND_NOTIFICATIONS
from ops.daily.replay import EVENTS, NAMES, REPLAY
from tests.support.metadata import METADATA, SettingsHarness
from tests.support.settings import ADMIN_ID

HANH = "c0000000-0000-4000-8000-000000000001"
CHECK_OF_PERMISSION = "check constraint of an insert/update permission has failed"
INVALID_SETTINGS: list[tuple[str, Any, str]] = [
    ("kill_switch", None, "kill_switch must be true or false, not null"),
    ("consent_mode", "maybe", "consent_mode must be off or record"),
    ("sla_minutes", 0, "sla_minutes must be 1 to 1440"),
    ("former_owner", "maybe", "former_owner must be off or on"),
    ("business_hours", "9 to 5", "business_hours must be always, or like: mon-fri 08:00-17:30"),
    ("business_hours", "mon 25:00-26:00", "business_hours must be always, or like: mon-fri"),
    ("business_hours", "mon 17:00-08:00", "business_hours must not end before they begin"),
    ("sla_hours", "night", "sla_hours must be all or business"),
    ("morning_message", "maybe", "morning_message must be off or on"),
    ("morning_message_at", "7.30", "morning_message_at must be a time, like 07:30"),
    ("holidays", "tomorrow", "holidays must be none, or like: 2027-02-05..2027-02-11"),
    ("held_retention_days", 30, "held_retention_days must not be less than payload_retention_days"),
    ("payload_retention_days", 400, "held_retention_days must not be less than payload_"),
]
"""One number for all: tests/sql/test_settings.py has the bounds of each."""
COLLECTIONS = yaml.safe_load((METADATA / "query_collections.yaml").read_text("utf-8"))
STORED = {query["name"]: query["query"] for item in COLLECTIONS for query in item["definition"]["queries"]}
VARIABLES: dict[str, dict[str, Any]] = {
    "pancake_settings_event": {"id": 1}, "pancake_report": {"week": "2026-05-11"},
    "pancake_settings_kpis": {"since": "2026-01-01T00:00:00Z"}, "pancake_replayed_events": {"ids": [1]},
    "pancake_owners": {"ids": []},
}  # fmt: skip


@pytest.fixture(scope="module")
def has_allow_list() -> bool:
    return True


def connection_id(harness: SettingsHarness) -> str:
    return str(harness.one("SELECT id FROM pancake_connection")["id"])


def source_id(harness: SettingsHarness, source: str) -> str:
    return str(harness.one("SELECT id FROM pancake_source WHERE pancake_source_id = %s", source)["id"])


def is_stopped(answer: dict[str, Any]) -> bool:
    return "query is not allowed" in json.dumps(answer)


async def test_it_shows_the_connection_and_which_secrets_are_set(harness: SettingsHarness) -> None:
    data = await harness.run("pancake_settings_connections")
    (connection,) = data["pancake_connection"]
    assert [connection[name] for name in ("name", "workspace_id", "status")] == ["Diva", 607, "active"]
    secrets = [connection[f"has_{name}"] for name in ("api_key", "webhook_secret", "header_secret")]
    assert secrets == [True, False, False]
    assert connection["status_history"][0]["status_before"] == "silent"
    assert len(connection["newest_event"]) == 1
    (setting,) = data["view_pancake_setting"]
    row = harness.one("SELECT * FROM view_pancake_setting")
    assert setting == {name: value for name, value in row.items() if name not in ("id", "change_reason")}
    assert (setting["kill_switch"], setting["problems"], setting["changed_at"]) == (True, [], None)


async def test_changes_in_settings_and_by_sql_are_in_the_history(harness: SettingsHarness) -> None:
    change = {"id": connection_id(harness), "set": {"allowlist_mode": "monitor"}}
    await harness.run("pancake_settings_update_connection", **change)
    switched = {"kill_switch": False, "change_reason": "go-live W1"}
    await harness.run("pancake_settings_update_settings", set=switched)
    for given in ({"is_active": False, "reason": "spam"}, {"is_active": True}):
        await harness.run("pancake_settings_set_source_active", id=source_id(harness, "-1"), **given)
    harness.sql("UPDATE pancake_connection SET allowlist_mode = 'off'")
    entries = (await harness.run("pancake_settings_history", limit=5))["integration_change"]
    names = ("kind", "changed_by", "hasura_role", "reason", "before", "after")
    owner, off, monitor = harness.session.info.user, {"allowlist_mode": "off"}, {"allowlist_mode": "monitor"}
    inactive, active = {"is_active": False}, {"is_active": True}
    assert [tuple(entry[name] for name in names) for entry in entries] == [
        ("connection", owner, None, None, monitor, off),
        ("source", ADMIN_ID, "crm_admin", None, inactive, active),
        ("source", ADMIN_ID, "crm_admin", "spam", active, inactive),
        ("setting", ADMIN_ID, "crm_admin", "go-live W1", {"kill_switch": True}, {"kill_switch": False}),
        ("connection", ADMIN_ID, "crm_admin", None, off, monitor),
    ]


async def test_an_invalid_setting_is_refused(harness: SettingsHarness, subtests: pytest.Subtests) -> None:
    before = harness.sql("SELECT app_settings FROM app_setting")
    for name, value, reason in INVALID_SETTINGS:
        with subtests.test(name, value=value):
            change = {name: value}
            refusal = await harness.refusal("pancake_settings_update_settings", set=change)
            assert reason in refusal
            assert harness.sql("SELECT app_settings FROM app_setting") == before


async def test_a_source_is_activated_unless_it_is_unknown_or_removed(harness: SettingsHarness) -> None:
    switch = "pancake_settings_set_source_active"
    known, unknown, pseudo = (source_id(harness, name) for name in ("-1", "777", "(none)"))
    for source, is_active in ((known, False), (known, True), (pseudo, True)):
        data = await harness.run(switch, id=source, is_active=is_active)
        assert data["update_pancake_source_by_pk"] == {"id": source, "is_active": is_active}
    refusal = await harness.refusal(switch, id=unknown, is_active=True)
    assert "ck_pancake_source_active_is_known" in refusal
    for source in (known, unknown):
        harness.sql("UPDATE pancake_source SET name = 'Zalo', is_removed = true WHERE id = %s", source)
        await harness.run(switch, id=source, is_active=False)
        assert CHECK_OF_PERMISSION in await harness.refusal(switch, id=source, is_active=True)


async def test_roster_members_can_be_added_changed_and_removed(harness: SettingsHarness) -> None:
    source = source_id(harness, "-1")
    added = await harness.run("pancake_settings_add_assignee", source_id=source, staff_id=HANH)
    member = added["insert_pancake_assignee_one"]["id"]
    await harness.run("pancake_settings_add_assignee", staff_id=HANH, weight=3)
    data = await harness.run("pancake_settings_sources")
    (row,) = next(s["assignees"] for s in data["pancake_source"] if s["id"] == source)
    assert (row["staff"]["full_name"], row["weight"]) == ("Vũ Thị Hạnh", 1)
    assert [item["weight"] for item in data["default_roster"]] == [3]
    assert len(data["staff"]) == 11
    limits = {"shift": "mon-fri 08:00-12:00, sat 08:00-10:00", "daily_cap": 20, "open_cap": None}
    changes: list[dict[str, Any]] = [{"weight": 5, "is_active": False}, limits]
    for change in changes:
        data = await harness.run("pancake_settings_update_assignee", id=member, set=change)
    stored = data["update_pancake_assignee_by_pk"]
    assert {name: stored[name] for name in ("weight", *limits)} == {"weight": 5} | limits
    await harness.run("pancake_settings_remove_assignee", id=member)
    assert len(harness.sql("SELECT id FROM pancake_assignee")) == 1


async def test_an_invalid_roster_member_is_refused(harness: SettingsHarness) -> None:
    added = await harness.run("pancake_settings_add_assignee", staff_id=HANH)
    member = added["insert_pancake_assignee_one"]["id"]
    changes: list[tuple[str, Any, str]] = [
        *(("weight", weight, "ck_pancake_assignee_weight") for weight in (0, -1, 101)),
        ("shift", "9 to 5", "ck_pancake_assignee_shift"),
        ("shift", "mon 17:00-08:00", "ck_pancake_assignee_shift"),
        ("open_cap", 0, "ck_pancake_assignee_caps"),
        ("assigned_count", 0, "assigned_count"),
    ]
    for name, value, reason in changes:
        refusal = await harness.refusal("pancake_settings_update_assignee", id=member, set={name: value})
        assert reason in refusal
    for staff_id, reason in ((HANH, "uq_pancake_assignee"), (HANH[:-1] + "9", "fk_pancake_assignee_staff")):
        assert reason in await harness.refusal("pancake_settings_add_assignee", staff_id=staff_id)


async def test_the_filtered_list_is_paginated(harness: SettingsHarness) -> None:
    pages = [await harness.run("pancake_settings_events", limit=2, offset=offset) for offset in (0, 2, 4)]
    rows = [row["id"] for page in pages for row in page["pancake_webhook_event"]]
    assert (len(rows), rows) == (5, sorted(rows, reverse=True))
    assert {page["pancake_webhook_event_aggregate"]["aggregate"]["count"] for page in pages} == {5}
    where = {"status": {"_eq": "dead_letter"}, "error_code": {"_eq": "invalid_phone"}}
    data = await harness.run("pancake_settings_events", where=where)
    assert data["pancake_webhook_event_aggregate"]["aggregate"]["count"] == 2
    data = await harness.run("pancake_settings_event", id=rows[-1])
    assert data["pancake_webhook_event_by_pk"]["payload"]["id"] == "record-10"
    assert data["pancake_webhook_event_by_pk"]["evidence"] == {}


async def test_a_replay_is_refused_while_the_kill_switch_is_on(harness: SettingsHarness) -> None:
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
    row = harness.one("SELECT DISTINCT status, replayed_by FROM pancake_webhook_event WHERE replay_count > 0")
    assert row == {"status": "received", "replayed_by": ADMIN_ID}
    refusal = await harness.refusal("pancake_settings_replay", filter={})
    assert refusal == "filter names neither status, error_code, source_id nor from."


async def test_a_manager_lists_leads_and_traces_one_and_corrects_none(harness: SettingsHarness) -> None:
    """Of a lead neither body, hash nor secret is shown."""
    since = {"figure": "held", "from": "2026-01-01"}
    answer = await harness.query(STORED["pancake_leads"], since, role="crm_manager")
    found = answer["data"]["pancake_list_leads"]
    assert (found["figure"], found["count"], found["made_by_hand"], len(found["leads"])) == ("held", 3, 0, 3)
    assert found["leads"][0].keys().isdisjoint({"payload", "raw", "payload_hash", "evidence"})
    told = await harness.query(
        STORED["pancake_settings_trace"], {"text": "record-10", "lang": "vi"}, "crm_manager"
    )
    (event,) = harness.sql(
        "SELECT encode(e.payload_hash, 'hex') AS hash, encode(c.token_sha256, 'hex') AS token"
        " FROM pancake_webhook_event AS e JOIN pancake_connection AS c ON c.id = e.connection_id"
        " WHERE e.record_id = 'record-10'"
    )
    assert not [each for each in (*event.values(), "payload", "raw") if each in json.dumps(told)]
    (story,) = told["data"]["pancake_trace_lead"]["leads"]
    assert story["next"].startswith("nhờ quản trị viên tắt công tắc dừng rồi xử lý lại")
    refused = await harness.query(STORED["pancake_settings_replay"], {"ids": [1]}, role="crm_manager")
    assert "pancake_replay_events" in json.dumps(refused["errors"])
    for wrong, said in (
        ({"figure": "all"}, "figure is not one of"),
        ({"from": "soon"}, "from is neither"),
        ({"limit": -1}, "limit is a number"),
    ):
        refused = await harness.query(STORED["pancake_leads"], wrong, role="crm_manager")
        assert refused["errors"][0]["message"].startswith(said)


async def test_the_runs_of_a_cron_are_listed_with_their_reports(harness: SettingsHarness) -> None:
    data = await harness.run("pancake_settings_runs", where={"name": {"_eq": "check_connection"}})
    (run,) = data["pancake_cron_run"]
    assert run["report"]["connections"][0]["after"] == "active"
    assert data["pancake_cron_run_aggregate"]["aggregate"]["count"] == 1
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    data = await harness.run("pancake_settings_kpis", since=since)
    assert data["newest"][0]["kpi"] == {"success": {"ratio": 1}}, "the figures come from the newest run"
    names = ("received", "processed", "failed", "held")
    assert [data[name]["aggregate"]["count"] for name in names] == [5, 0, 2, 3]


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("pancake_send_notifications", SEND_NOTIFICATIONS),
        ("pancake_replay", REPLAY),
        ("pancake_replayed_events", EVENTS),
        ("pancake_owners", NAMES),
    ],
)
def test_what_our_programs_ask_is_stored_as_they_ask_it(name: str, program: str) -> None:
    """The engine compares syntax trees."""
    assert print_ast(parse(STORED[name])) == print_ast(parse(program))


async def test_a_stored_operation_is_not_stopped(harness: SettingsHarness, subtests: pytest.Subtests) -> None:
    """Those with variables are called without: the engine then misses a variable, not the permission."""
    for name, text in STORED.items():
        with subtests.test(name):
            answer = await harness.query(text, VARIABLES.get(name))
            assert not is_stopped(answer)
            if name in VARIABLES or "$" not in text.partition("{")[0]:
                assert "errors" not in answer, answer


async def test_the_calls_of_the_edge_and_of_notifications_are_not_stopped(harness: SettingsHarness) -> None:
    """The service behind the notifications cannot be reached here; the engine gets as far as calling it."""
    headers = {"Authorization": f"Bearer {harness.keys.token('pancake_edge')}"}
    body = {"token_sha256": "0" * 64, "raw": "e30="}
    answer = await harness.client.post("/api/rest/pancake/record", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["pancake_ingest_record"]["status"] == "unknown_token"
    sent = await harness.query(SEND_NOTIFICATIONS, {"notifications": []}, role="pancake_service")
    assert sent["errors"][0]["message"] == "http exception when calling webhook"


@pytest.mark.parametrize(
    ("query", "role"),
    [
        ("{ pancake_connection { id } }", "crm_admin"),
        ("query PancakeSettingsOther { pancake_connection { id } }", "crm_admin"),
        ("{ __schema { queryType { name } } }", "pancake_service"),
    ],
)
async def test_anything_else_is_stopped(harness: SettingsHarness, query: str, role: str) -> None:
    answer = await harness.query(query, role=role)
    assert is_stopped(answer)
    assert answer["errors"][0]["extensions"] == {"code": "validation-failed", "path": "$"}
    assert not is_stopped(await harness.query("{ __typename }", role=role))
