"""The permissions of each role on each of our tables, for every operation of GraphQL."""

import json
import re
from typing import Any

import pytest
from graphql import OperationDefinitionNode, get_introspection_query, parse

from tests.support.settings_tab import SettingsHarness, stored_operations

OTHER_ROLES = ["crm_manager", "crm_telesale", "pancake_edge", "pancake_service", None]
ALLOWED = {
    "pancake_connection": {"select", "update"},
    "pancake_source": {"select", "aggregate", "update"},
    "pancake_assignee": {"select", "aggregate", "insert", "update", "delete"},
    "pancake_webhook_event": {"select", "aggregate"},
    "pancake_cron_run": {"select", "aggregate"},
    "integration_change": {"select"},
    "view_pancake_connection_status": {"select", "aggregate"},
    "view_pancake_report_owner": {"select"},
    "view_pancake_report_source": {"select"},
    "view_pancake_setting": {"select", "update"},
}
"""What crm_admin may do; crm_manager may read the report; other roles may do nothing."""
REPORT = {"view_pancake_report_owner", "view_pancake_report_source"}

SETS = {
    "pancake_connection": 'name: "x"',
    "pancake_source": "is_active: true",
    "pancake_assignee": "weight: 2",
    "pancake_webhook_event": 'status: "received"',
    "pancake_cron_run": 'outcome: "failed"',
    "integration_change": 'changed_by: "x"',
    "view_pancake_connection_status": 'status_after: "active"',
    "view_pancake_report_owner": "tickets: 1",
    "view_pancake_report_source": "tickets: 1",
    "view_pancake_setting": "kill_switch: false",
}
OPERATIONS = {
    "select": "query {{ {table} {{ __typename }} }}",
    "by_pk": "query {{ {table}_by_pk(id: 1) {{ __typename }} }}",
    "aggregate": "query {{ {table}_aggregate {{ aggregate {{ count }} }} }}",
    "insert": "mutation {{ insert_{table}(objects: []) {{ affected_rows }} }}",
    "update": "mutation {{ update_{table}(where: {{_not: {{}}}}, _set: {{{set}}}) {{ affected_rows }} }}",
    "update_many": "mutation {{ update_{table}_many(updates: []) {{ affected_rows }} }}",
    "delete": "mutation {{ delete_{table}(where: {{_not: {{}}}}) {{ affected_rows }} }}",
}
HIDDEN = re.compile(
    r"token_sha256|encrypted|payload_hash|claim_id|notify_claimed_at|^notifications$|^raw$|source_ip"
)
SECRET_COLUMNS = {
    "pancake_connection": [
        "token_sha256", "previous_token_sha256", "api_key_encrypted", "webhook_secret_encrypted",
        "previous_webhook_secret_encrypted", "header_secret_encrypted", "previous_header_secret_encrypted",
    ],
    "pancake_webhook_event": ["raw", "payload_hash", "claim_id", "source_ip"],
}  # fmt: skip
SUFFIXES = "(_bool_exp|_order_by|_select_column|_stream)$|_stream_cursor(_value)?_input$"
"""Of the names of types and fields that belong to a table."""
NOT_FOUND = ("not found in type", "no mutations exist", "no subscriptions exist", "unexpected mutation")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("table", ALLOWED)
@pytest.mark.parametrize("role", OTHER_ROLES)
async def test_other_roles_find_no_operation(
    shared_harness: SettingsHarness, role: str | None, table: str, operation: str
) -> None:
    answer = await shared_harness.query(OPERATIONS[operation].format(table=table, set=SETS[table]), role=role)
    if role == "crm_manager" and table in REPORT and operation == "select":
        assert "errors" not in answer
        return
    assert "data" not in answer
    assert any(words in answer["errors"][0]["message"] for words in NOT_FOUND), answer


@pytest.mark.parametrize("operation", ["select", "aggregate", "insert", "update", "delete"])
@pytest.mark.parametrize("table", ALLOWED)
async def test_administrators_find_the_operations_that_they_need(
    shared_harness: SettingsHarness, table: str, operation: str
) -> None:
    answer = await shared_harness.query(OPERATIONS[operation].format(table=table, set=SETS[table]))
    assert ("errors" not in answer) == (operation in ALLOWED[table]), answer


@pytest.mark.parametrize(
    ("table", "column"), [(table, column) for table, columns in SECRET_COLUMNS.items() for column in columns]
)
@pytest.mark.parametrize("role", ["crm_admin", *OTHER_ROLES])
async def test_no_role_reads_filters_or_orders_by_a_secret(
    shared_harness: SettingsHarness, role: str | None, table: str, column: str
) -> None:
    for query in (
        f"{{ {table} {{ {column} }} }}",
        f"{{ {table}(where: {{{column}: {{_is_null: false}}}}) {{ __typename }} }}",
        f"{{ {table}(order_by: {{{column}: asc}}) {{ __typename }} }}",
        f"{{ {table}(distinct_on: {column}) {{ __typename }} }}",
        f"mutation {{ update_{table}(where: {{}}, _set: {{{column}: null}}) {{ affected_rows }} }}",
    ):
        answer = await shared_harness.query(query, role=role)
        assert "data" not in answer, query


async def _schema(harness: SettingsHarness, role: str | None) -> dict[str, Any]:
    answer = await harness.query(get_introspection_query(descriptions=False), role=role)
    schema: dict[str, Any] = answer["data"]["__schema"]
    return schema


async def test_managers_see_the_report_and_nothing_else_of_the_integration(
    shared_harness: SettingsHarness,
) -> None:
    schema = await _schema(shared_harness, "crm_manager")
    shown = re.findall(r'"name": "(\w*(?:pancake|integration)\w*)"', json.dumps(schema))
    assert {re.sub(SUFFIXES, "", name) for name in shown} == REPORT
    (queries,) = (kind for kind in schema["types"] if kind["name"] == "query_root")
    assert {item["name"] for item in queries["fields"]} >= REPORT


async def test_only_managers_and_administrators_get_the_report(shared_harness: SettingsHarness) -> None:
    (operation,) = stored_operations("pancake_reports").values()
    for role in ("crm_manager", "crm_admin"):
        answer = await shared_harness.query(operation, {"week": "2026-05-11"}, role=role)
        assert answer["data"] == {table: [] for table in REPORT}
    for other in ("crm_telesale", "pancake_edge", "pancake_service", None):
        assert "data" not in await shared_harness.query(operation, {"week": "2026-05-11"}, role=other)


@pytest.mark.parametrize("role", ["crm_telesale", "pancake_service", None])
async def test_introspection_of_other_roles_shows_nothing_of_the_integration(
    shared_harness: SettingsHarness, role: str | None
) -> None:
    schema = await _schema(shared_harness, role)
    shown = json.dumps(schema).lower()
    assert "pancake" not in shown
    assert "integration_change" not in shown


async def test_the_edge_sees_only_its_action(shared_harness: SettingsHarness) -> None:
    schema = await _schema(shared_harness, "pancake_edge")
    (mutations,) = (kind for kind in schema["types"] if kind["name"] == "mutation_root")
    assert [item["name"] for item in mutations["fields"]] == ["pancake_ingest_record"]
    types = {kind["name"] for kind in schema["types"] if "pancake" in kind["name"].lower()}
    assert types == {"PancakeIngestAck"}


async def test_introspection_of_the_administrators_shows_no_secret_and_no_other_action(
    shared_harness: SettingsHarness,
) -> None:
    schema = await _schema(shared_harness, "crm_admin")
    types = [kind for kind in schema["types"] if "pancake" in kind["name"].lower()]
    for kind in types:
        for part in ("fields", "inputFields", "enumValues"):
            assert not [item["name"] for item in kind[part] or () if HIDDEN.search(item["name"])], kind
    (queries,) = (kind for kind in schema["types"] if kind["name"] == "query_root")
    assert {item["name"] for item in queries["fields"] if "_trace_" in item["name"]} == {"pancake_trace_lead"}
    (mutations,) = (kind for kind in schema["types"] if kind["name"] == "mutation_root")
    names = {item["name"] for item in mutations["fields"] if "pancake" in item["name"]}
    assert names == {
        "pancake_replay_events",
        "insert_pancake_assignee", "insert_pancake_assignee_one", "delete_pancake_assignee",
        "delete_pancake_assignee_by_pk", "update_pancake_assignee", "update_pancake_assignee_by_pk",
        "update_pancake_assignee_many", "update_pancake_connection", "update_pancake_connection_by_pk",
        "update_pancake_connection_many", "update_pancake_source", "update_pancake_source_by_pk",
        "update_pancake_source_many", "update_view_pancake_setting", "update_view_pancake_setting_many",
    }  # fmt: skip


async def test_no_relationship_of_divas_tables_refers_to_ours(shared_harness: SettingsHarness) -> None:
    """Otherwise a permission on a ticket or an account would also give access to our rows."""
    schema = await _schema(shared_harness, "crm_admin")
    for kind in schema["types"]:
        if kind["name"] in ("account", "contact_book", "ticket", "staff", "app_setting", "crm_master_data"):
            assert "pancake" not in json.dumps(kind["fields"]), kind["name"]


@pytest.mark.parametrize("role", OTHER_ROLES)
@pytest.mark.parametrize("name", stored_operations())
async def test_no_operation_of_the_settings_works_for_others(
    shared_harness: SettingsHarness, name: str, role: str | None
) -> None:
    answer = await shared_harness.query(shared_harness.operations[name], role=role)
    assert "data" not in answer


@pytest.mark.parametrize(("name", "text"), stored_operations().items())
def test_each_is_one_named_operation_that_hasura_can_store(name: str, text: str) -> None:
    (definition,) = parse(text).definitions
    assert isinstance(definition, OperationDefinitionNode)
    assert definition.name is not None
    assert re.sub(r"(?<!^)(?=[A-Z])", "_", definition.name.value).lower() == name
