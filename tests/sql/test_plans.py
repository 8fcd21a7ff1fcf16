"""Hot statements use indexes, on tables with 100,000 accounts and 100,000 events."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from leads.adapters.queries import QUERIES
from sandbox.postgres.plans import custom_plan, generic_plan, indexes, nodes, scanned

FOLDERS = {"process_record", "ingest_record", "outbox", "retry_failed", "pancake_lists", "poll_records"}
FOLDERS |= {"check_connection", "check_sla", "reconcile_daily", "cron_runs", "run_notices"}
FOLDERS |= {"unassigned_tickets", "recalled_tickets", "status", "tail", "trace_lead"}
HOT = [name for name in QUERIES if name.split("/")[0] in FOLDERS]
FACTS_PARAMS: dict[str, Any] = {
    "id": 5000,
    "record_ticket_id": None,
    "record_account_id": None,
    "phones": ["+84900005000", "+84900005001"],
    "stored_digits": ["0900005001", "900005001", "84900005001"],
    "own_phones": ["+84900005002"],
    "own_digits": ["0900005002", "900005002"],
    "phone_digests": '{"+84900005001": ["test:0123456789abcdef"]}',
}

MANY_ROSTERS = (
    b"INSERT INTO pancake_source (connection_id, pancake_source_id, name)"
    b" SELECT c.id, '-8' || n, 'Source ' || n FROM pancake_connection AS c, generate_series(1, 40) AS n",
    b"INSERT INTO staff (full_name, role)"
    b" SELECT 'Telesale ' || n, 'telesale' FROM generate_series(1, 60) AS n",
    b"INSERT INTO pancake_assignee (source_id, staff_id)"
    b" SELECT p.id, s.id FROM pancake_source AS p, staff AS s WHERE s.full_name LIKE 'Telesale %'",
    b"ANALYZE pancake_assignee, staff",
    b"SET LOCAL enable_seqscan = off",  # as in the sessions that process
)


@pytest.mark.parametrize("name", HOT)
def test_no_hot_statement_scans_a_large_table_sequentially(filled: psycopg.Connection, name: str) -> None:
    assert scanned(generic_plan(filled, name)) == set()


@pytest.mark.parametrize("plan", ["generic", "custom"])
def test_an_account_is_looked_up_by_its_phone_or_by_the_digits_it_was_stored_with(
    filled: psycopg.Connection, plan: str
) -> None:
    name = "process_record/load_facts"
    found = generic_plan(filled, name) if plan == "generic" else custom_plan(filled, name, FACTS_PARAMS)
    assert scanned(found) == set()
    assert {
        "account_normalized_phone_idx",
        "account_phone_not_normalized_idx",
        "ix_pancake_webhook_event_ticket",
        "ticket_account_id_idx",
    } <= indexes(found)


def test_the_counted_rows_are_estimated_by_their_times(filled: psycopg.Connection) -> None:
    """A third of the table would be expected of times that the planner does not know: it scans it then."""
    params = {"now": datetime.now(UTC) + timedelta(days=30), "names": ["check_sla"]}
    plan = custom_plan(filled, "metrics/count_counted", params)
    expected = [node["Plan Rows"] for node in plan if node.get("Relation Name") == "pancake_webhook_event"]
    assert len(expected) == 2
    assert max(expected) < 1000


def test_the_lookup_finds_normalized_and_stored_phones(filled: psycopg.Connection) -> None:
    ((accounts,),) = filled.execute(
        b"SELECT s.accounts FROM (" + QUERIES["process_record/load_facts"] + b") AS s", FACTS_PARAMS
    ).fetchall()
    assert {account["phone_number"] for account in accounts} == {"0900005000", "0900005001"}


def test_a_claim_looks_for_an_active_source_once(filled: psycopg.Connection) -> None:
    """Merged into the UPDATE, the search stands in the plan once for each column that depends on it."""
    found = generic_plan(filled, "process_record/claim_event")
    assert [node.get("Relation Name") for node in found].count("pancake_source") == 1


def test_a_delivery_is_compared_by_the_identity_index(filled: psycopg.Connection) -> None:
    delivery = {
        "ordinal": 0,
        "token_sha256": "ab" * 32,
        "arrived_at": "2026-05-14T00:00:00Z",
        "record_id": "r-1",
        "payload_hash": "00" * 32,
        "payload": "{}",
        "source_ids": ["5"],
    }
    params = {
        "origin": "webhook",
        "now": "2026-05-14T00:00:00Z",
        "max_new_sources": 20,
        "deliveries": json.dumps([delivery]),
    }
    plan = custom_plan(filled, "ingest_record/store_deliveries", params)
    arbiters = {index for node in plan for index in node.get("Conflict Arbiter Indexes", [])}
    assert "uq_pancake_webhook_event_identity" in arbiters
    assert scanned(plan) == set()


@pytest.mark.parametrize(
    "name",
    [
        "process_record/claim_event",
        "process_record/fence_claim",
        "process_record/fail_event",
        "process_record/finish_event",
        "process_record/hold_event",
        "process_record/set_table",
        "process_record/list_without_table",
    ],
)
def test_an_event_is_found_by_its_key(filled: psycopg.Connection, name: str) -> None:
    assert "pk_pancake_webhook_event" in indexes(generic_plan(filled, name))


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("process_record/upsert_contact", "uq_contact_book_primary_phone"),
        ("process_record/insert_ticket", "uq_contact_book_primary_phone"),
        ("process_record/update_ticket", "ticket_pkey"),
        ("process_record/touch_account", "account_pkey"),
        ("process_record/lock_phones", "uq_pancake_webhook_event_identity"),
        ("outbox/mark_notified", "pk_pancake_webhook_event"),
        ("retry_failed/release_failed", "ix_pancake_webhook_event_retry"),
        ("outbox/mark_unsent", "pk_pancake_webhook_event"),
        ("outbox/claim_notifications", "pk_pancake_webhook_event"),
        ("retry_failed/list_unnotified", "ix_pancake_webhook_event_unnotified"),
        ("unassigned_tickets/store_choice", "pk_pancake_webhook_event"),
        ("locked_tickets/set_owner", "ticket_pkey"),
        ("retry_failed/count_given_up", "ix_pancake_webhook_event_given_up"),
        ("pancake_lists/load_events", "uq_pancake_webhook_event_identity"),
        ("pancake_lists/fill_held", "uq_pancake_webhook_event_identity"),
        ("poll_records/load_known", "ix_pancake_webhook_event_created_at"),
        ("check_connection/load_signs", "ix_pancake_webhook_event_created_at"),
        ("check_sla/flag_late_tickets", "ix_pancake_webhook_event_created_at"),
        ("check_sla/flag_late_tickets", "ix_pancake_webhook_event_waited"),
        ("check_sla/flag_late_tickets", "ix_pancake_webhook_event_ticket"),
        ("purge_events/empty_payloads", "ix_pancake_webhook_event_created_at"),
        ("purge_events/empty_replayed", "ix_pancake_webhook_event_replayed"),
        ("purge_events/empty_leftovers", "ix_pancake_webhook_event_leftover"),
        ("process_record/load_facts", "ix_pancake_webhook_event_phone_digest"),
        ("process_record/load_applied", "ix_customer_erasure_digest"),
        ("ingest_record/store_deliveries", "ix_customer_erasure_digest"),
        ("cron_runs/start_run", "uq_pancake_cron_run_tick"),
        ("replay_events/replay_rows", "pk_pancake_webhook_event"),
        ("replay_events/load_leads", "pk_pancake_webhook_event"),
        ("kpi/load_success", "ix_pancake_webhook_event_held"),
        ("status/count_tickets", "ix_pancake_webhook_event_created_at"),
        ("status/list_connections", "ix_pancake_webhook_event_created_at"),
        ("status/count_events", "ix_pancake_webhook_event_waiting"),
        ("status/count_events", "ix_pancake_webhook_event_retry"),
        ("status/count_events", "ix_pancake_webhook_event_held"),
        ("status/list_cron_runs", "uq_pancake_cron_run_tick"),
        ("unassigned_count/count_tickets", "ix_pancake_webhook_event_unassigned"),
        ("status/count_unsent", "ix_pancake_webhook_event_unnotified"),
        ("status/count_unsent", "ix_pancake_webhook_event_given_up"),
        ("tail/list_events", "pk_pancake_webhook_event"),
        ("trace_lead/load_events", "pk_pancake_webhook_event"),
        ("trace_lead/load_events", "uq_pancake_webhook_event_identity"),
        ("trace_lead/load_events", "ix_pancake_webhook_event_phone"),
        ("trace_lead/load_events", "ix_pancake_webhook_event_phone_digest"),
        ("trace_lead/load_events", "ix_pancake_webhook_event_ticket"),
        ("trace_lead/load_events", "ix_pancake_webhook_event_held"),
        ("trace_lead/load_events", "account_normalized_phone_idx"),
        ("trace_lead/load_events", "uq_contact_book_primary_phone"),
        ("trace_lead/load_events", "ticket_code_key"),
        ("trace_lead/load_events", "ticket_account_id_idx"),
    ],
)
def test_a_statement_uses_the_index_that_it_names(filled: psycopg.Connection, name: str, index: str) -> None:
    plan = generic_plan(filled, name)
    arbiters = {arbiter for node in plan for arbiter in node.get("Conflict Arbiter Indexes", [])}
    assert index in indexes(plan) | arbiters


@pytest.mark.parametrize("name", [name for name in QUERIES if name.split("/")[0] == "metrics"])
def test_a_metric_reads_no_large_table_whole(filled: psycopg.Connection, name: str) -> None:
    """Its session is new at each scrape, so each plan is a custom one."""
    params = {"now": "2026-03-10T12:00:00Z", "names": ["poll_records"], "logs": ["event_log"]}
    assert scanned(custom_plan(filled, name, params)) == set()


def test_status_updates_do_not_touch_the_identity_index(filled: psycopg.Connection) -> None:
    """A status change of a finished row updates no column of an index; one has it of held rows only."""
    found = filled.execute(
        "SELECT i.relname FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid"
        " WHERE x.indrelid = 'pancake_webhook_event'::regclass"
        " AND i.relname <> 'ix_pancake_webhook_event_held' AND EXISTS (SELECT FROM pg_attribute AS a"
        " WHERE a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey)"
        " AND a.attname IN ('status', 'attempts', 'claim_id', 'ingested_at', 'notify_claimed_at'))"
    ).fetchall()
    assert found == []


ORDER: dict[str, Any] = {
    "ids": None,
    "states": ["skipped_kill_switch"],
    "error_code": None,
    "source_id": None,
    "created_from": None,
    "created_to": None,
    "corrected": False,
    "most": 100_000,
}


@pytest.mark.parametrize(
    ("order", "index"),
    [
        ({}, "ix_pancake_webhook_event_held"),
        ({"states": ["dead_letter", "skipped_kill_switch"]}, "ix_pancake_webhook_event_held"),
        ({"states": ["failed"]}, "ix_pancake_webhook_event_retry"),
        ({"ids": [1, 2, 3]}, "pk_pancake_webhook_event"),
    ],
)
def test_a_replay_finds_its_rows_by_index(
    filled: psycopg.Connection, order: dict[str, Any], index: str
) -> None:
    plan = custom_plan(filled, "replay_events/find_rows", ORDER | order)
    assert index in indexes(plan)
    assert scanned(plan) == set()


@pytest.mark.parametrize(
    "name", sorted({n for n in QUERIES if n.split("/")[0] in ("kpi", "report")} - {"kpi/load_zero_miss"})
)
def test_a_figure_reads_only_the_events_of_its_window(filled: psycopg.Connection, name: str) -> None:
    window = {"from": "2026-05-14T00:00:00Z", "to": "2026-05-14T01:00:00Z"}
    plan = custom_plan(filled, name, window)
    assert "ix_pancake_webhook_event_created_at" in indexes(plan)
    assert scanned(plan) == set()


@pytest.mark.parametrize("view", ["view_pancake_report_source", "view_pancake_report_owner"])
def test_the_report_of_a_week_reads_the_events_of_that_week_once(
    filled: psycopg.Connection, view: str
) -> None:
    query = (
        f"SELECT * FROM {view} WHERE week = date_trunc('week', now() AT TIME ZONE 'Asia/Ho_Chi_Minh')::date"
    )
    ((found,),) = filled.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}".encode()).fetchall()
    plan = list(nodes(found[0]["Plan"]))
    assert scanned(plan) == set()
    calls = [node for node in plan if str(node.get("Function Name", "")).startswith("pancake_report_")] or [
        node for node in plan if node.get("Index Name") == "ix_pancake_webhook_event_created_at"
    ]
    assert calls
    assert max(node["Actual Loops"] for node in calls) == 1


def test_a_roster_is_read_by_its_source(filled: psycopg.Connection) -> None:
    """Not the members of all rosters."""
    with filled.transaction(force_rollback=True):
        for statement in MANY_ROSTERS:
            filled.execute(statement)
        found = generic_plan(filled, "process_record/load_roster")
    nodes_of_source = [node for node in found if node.get("Index Name") == "uq_pancake_assignee"]
    conditions = sorted(node["Index Cond"].rstrip(" $0123456789)") for node in nodes_of_source)
    assert conditions == ["(source_id =", "(source_id IS NULL"]
