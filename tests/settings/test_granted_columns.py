"""Each role, table, column and operation: metadata and engine grant what stands here, and nothing else."""

from typing import Any

import psycopg
import pytest
import yaml
from graphql import get_introspection_query

from tests.support.settings_tab import METADATA, SettingsHarness

ROLES = ["crm_admin", "crm_manager", "crm_telesale", "pancake_edge", "pancake_service", "anonymous"]
OPERATIONS = ("select", "insert", "update", "delete")
UNTRACKED = ["customer_erasure", "view_pancake_stored_setting"]
"""Relations that the engine does not serve."""
GRANTED: dict[tuple[str, str], str] = {
    ("integration_change", "select"): (
        "action after application before changed_at changed_by database_role hasura_role id kind "
        "name reason row_id transaction_id"
    ),
    (
        "pancake_assignee",
        "select",
    ): (
        "assigned_count assigned_on assigned_today created_at daily_cap id is_active open_cap shift "
        "source_id staff_id total_assigned weight"
    ),
    ("pancake_assignee", "insert"): "daily_cap is_active open_cap shift source_id staff_id weight",
    ("pancake_assignee", "update"): "daily_cap is_active open_cap shift weight",
    ("pancake_assignee", "delete"): "",
    ("pancake_connection", "select"): (
        "allowed_ip_ranges allowlist_mode api_base_url created_at has_api_key has_header_secret "
        "has_webhook_secret id last_poll_at name poll_watermark previous_token_expires_at "
        "record_timezone signature_mode status status_changed_at table_names updated_at "
        "workspace_id"
    ),
    ("pancake_connection", "update"): "allowed_ip_ranges allowlist_mode name signature_mode",
    ("pancake_cron_run", "select"): (
        "error finished_at id name notified_at notify_attempts notify_error notify_given_up_at "
        "notify_next_at notify_refusals notify_unknowns notify_unsent_since outcome report "
        "scheduled_time started_at window_from window_to"
    ),
    ("pancake_source", "select"): (
        "connection_id first_seen_at id is_active is_removed name pancake_source_id "
        "parent_source_id synced_at"
    ),
    ("pancake_source", "update"): "change_reason is_active",
    ("pancake_webhook_event", "select"): (
        "account_id applied_at arrived_at assignee_id attempts connection_id created_at "
        "error_code error_detail evidence held_at id ingested_at modified_on next_attempt_at "
        "normalized_phone notified_at notify_attempts notify_error notify_given_up_at "
        "notify_next_at notify_refusals notify_unknowns notify_unsent_since origin outcome "
        "payload processed_at received_at record_id replay_count replayed_at replayed_by "
        "source_ids status table_name ticket_id"
    ),
    (
        "view_pancake_connection_status",
        "select",
    ): "connection_id reason scheduled_time status_after status_before",
    ("view_pancake_report_owner", "select"): (
        "bound changed connection owner share source source_id spread tickets week weight"
    ),
    ("view_pancake_report_source", "select"): (
        "changed connection held leads missed_by_webhook no_phone response_p50_business_minutes "
        "response_p50_minutes response_p95_business_minutes response_p95_minutes source source_id tickets "
        "unanswered unassigned week"
    ),
    ("view_pancake_setting", "select"): (
        "business_hours changed_at changed_by consent_mode cron_run_retention_days engine_log_retention_days "
        "former_owner held_retention_days holidays id kill_switch max_tickets_ahead payload_retention_days "
        "problems processing_paused recall_after_minutes recall_max_times replay_rate_per_second sla_minutes"
    ),
    ("view_pancake_setting", "update"): (
        "business_hours change_reason consent_mode cron_run_retention_days engine_log_retention_days "
        "former_owner held_retention_days holidays "
        "kill_switch max_tickets_ahead payload_retention_days processing_paused recall_after_minutes "
        "recall_max_times replay_rate_per_second sla_minutes"
    ),
}
"""What crm_admin may do, with the columns."""
FOR_MANAGERS = ("view_pancake_report_owner", "view_pancake_report_source")
"""What crm_manager may read, with the same columns. No other role may do anything with our tables."""
TABLES = sorted({table for table, _ in GRANTED})
# The type that holds an operation's columns, and the field without which the type is of no use.
HOLDERS = {
    "select": ("{table}", "{table}"),
    "insert": ("{table}_insert_input", "insert_{table}"),
    "update": ("{table}_set_input", "update_{table}"),
}
OTHER_INPUTS = ("{table}_bool_exp", "{table}_order_by", "{table}_inc_input", "{table}_append_input")


def granted(role: str, table: str, operation: str) -> set[str] | None:
    """The columns that a role may use; None if it has no such operation."""
    may = role == "crm_admin" or (role == "crm_manager" and table in FOR_MANAGERS)
    columns = GRANTED.get((table, operation)) if may else None
    return None if columns is None else set(columns.split())


def in_metadata(role: str, table: str, operation: str) -> set[str] | None:
    text = (METADATA / f"databases/default/tables/public_{table}.yaml").read_text("utf-8")
    found = [
        item for item in yaml.safe_load(text).get(f"{operation}_permissions", []) if item["role"] == role
    ]
    return set(found[0]["permission"].get("columns", [])) if found else None


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("role", ROLES)
def test_the_metadata_grants_these_columns(role: str, table: str, operation: str) -> None:
    assert in_metadata(role, table, operation) == granted(role, table, operation)


def test_no_permission_is_of_another_role_table_or_column(database: str) -> None:
    """No role is left out above, no inherited role has a part, and every relation is in one list."""
    files = sorted((METADATA / "databases/default/tables").glob("public_*.yaml"))
    assert [path.stem.removeprefix("public_") for path in files] == TABLES
    for path in files:
        table = yaml.safe_load(path.read_text("utf-8"))
        assert {item["role"] for key in table if key.endswith("_permissions") for item in table[key]} <= set(
            ROLES
        )
    assert yaml.safe_load((METADATA / "inherited_roles.yaml").read_text("utf-8")) == []
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        ).fetchall()
    relations = {
        table for table, _ in rows if "pancake" in table or table in ("integration_change", *UNTRACKED)
    }
    assert relations == {*TABLES, *UNTRACKED}
    for (table, _), columns in GRANTED.items():
        assert {(table, column) for column in columns.split()} <= set(rows)


@pytest.fixture(scope="module")
async def schemas(shared_harness: SettingsHarness) -> dict[str, dict[str, set[str]]]:
    """For each role the names of all fields of each type, as its introspection shows them."""
    found = {}
    for role in ROLES:
        answer: Any = await shared_harness.query(
            get_introspection_query(descriptions=False), role=None if role == "anonymous" else role
        )
        found[role] = {
            kind["name"]: {field["name"] for field in kind["fields"] or kind["inputFields"] or ()}
            for kind in answer["data"]["__schema"]["types"]
        }
    return found


@pytest.mark.parametrize("table", [*TABLES, *UNTRACKED])
@pytest.mark.parametrize("role", ROLES)
async def test_the_engine_shows_these_columns(
    schemas: dict[str, dict[str, set[str]]], shared_harness: SettingsHarness, role: str, table: str
) -> None:
    """To read, write, filter and sort. Relationships are no columns."""
    types = schemas[role]
    fields = types.get("query_root", set()) | types.get("mutation_root", set())
    columns = {
        row["column_name"]
        for row in shared_harness.sql(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s", table
        )
    }
    for operation, (holder, field) in HOLDERS.items():
        shown = types.get(holder.format(table=table)) if field.format(table=table) in fields else None
        expected = granted(role, table, operation)
        assert (None if shown is None else shown & columns) == expected, operation
    is_deletable = f"delete_{table}" in fields
    assert is_deletable == (granted(role, table, "delete") is not None)
    usable = (granted(role, table, "select") or set()) | (granted(role, table, "update") or set())
    for name in OTHER_INPUTS:
        assert types.get(name.format(table=table), set()) & columns <= usable, name
