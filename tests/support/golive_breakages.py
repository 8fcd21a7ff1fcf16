"""What is broken in the database of a pilot or in a running sandbox, and which criteria are red then."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from sandbox.stack.stack import Sandbox
from tests.support.breaking import Break, Variables, api, by_sql, metadata, sql, without_sql_triggers

OWNER = "c0000000-0000-4000-8000-000000000002"
NEWEST = "(SELECT {} FROM pancake_webhook_event ORDER BY created_at DESC LIMIT {})"
NEWEST_DAY = "created_at > now() - interval '23 hours'"
OLDER = "created_at < now() - interval '2 days'"
REPORT = "UPDATE pancake_cron_run SET report = jsonb_set(report, '{{days,0,{}}}', '{}') WHERE id = " + (
    "(SELECT max(id) FROM pancake_cron_run WHERE name = 'reconcile_daily' AND finished_at < now()"
    " AND finished_at > now() - interval '1 day')"
)
UNASSIGNED = (
    "WITH unassigned AS (UPDATE ticket SET assignee_id = NULL WHERE id IN "
    + NEWEST.format("ticket_id", "{}")
    + " RETURNING id) UPDATE pancake_webhook_event AS e SET evidence = '{{}}' FROM unassigned AS u"
    " WHERE u.id = e.ticket_id"
)
SUSPENDED = (
    "UPDATE pancake_cron_run SET report = jsonb_build_object('connections', jsonb_build_array("
    "jsonb_build_object('connection_id', (SELECT id FROM pancake_connection LIMIT 1),"
    " 'before', 'active', 'after', 'suspended')))"
    " WHERE id = (SELECT max(id) FROM pancake_cron_run WHERE name = 'check_connection')"
)
MORE_SOURCES = (
    "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
    " SELECT id, 'more-' || n, 'more', true FROM pancake_connection, generate_series(1, 50) AS n"
)
ONE_ACTIVE = "UPDATE pancake_source SET is_active = pancake_source_id = 'source-1'"
KILL_SWITCH = (
    "UPDATE app_setting SET app_settings ="
    " jsonb_set(app_settings, '{{pancake_integration,kill_switch}}', '{}')"
)
BEFORE = {"deploy": f"{ONE_ACTIVE}; {KILL_SWITCH.format('false')}", "W1": ONE_ACTIVE, "W4": MORE_SOURCES}
"""By the subject (a wave or a part of the checklist): what it needs beside the pilot."""


def dead(number: int, condition: str) -> str:
    return (
        "UPDATE pancake_webhook_event SET status = 'dead_letter', error_code = 'internal', outcome = NULL"
        f" WHERE id IN (SELECT id FROM pancake_webhook_event WHERE {condition} ORDER BY id LIMIT {number})"
    )


@dataclass(frozen=True)
class GateBreakage:
    """A statement that makes these criteria red, the `value` of their series, or an `alert` that is missing.

    `before` brings the database into the state in which they pass, if BEFORE does not.
    """

    criteria: str
    statement: str = ""
    value: str = ""
    alert: str = ""
    before: str = ""


GATE_BREAKAGES = (
    GateBreakage("D0-errors D7-errors", value="17"),
    GateBreakage("D0-metrics E4-11 heartbeat", value="0"),
    GateBreakage("webhook-latency", value="1.5"),
    GateBreakage("memory-W3", value="300"),
    GateBreakage("E2-OPS-scrape", value="1"),
    GateBreakage("G-7", alert="PancakeOutageActive"),
    GateBreakage("E2-OPS-alerts", alert="PancakeDlqCountHigh"),
    GateBreakage("E7.1", alert="PancakeCircuitBreakerOpenLong"),
    GateBreakage(
        "D0-trigger",
        f"UPDATE pancake_webhook_event SET processed_at = processed_at + interval '5 s' WHERE {NEWEST_DAY}",
    ),
    GateBreakage(
        "process-latency E6-latency",
        "UPDATE pancake_webhook_event SET processed_at = processed_at + interval '1 minute' WHERE id IN "
        + NEWEST.format("id", 70),
    ),
    GateBreakage("D7-dead-letters success-rate-day", dead(2, NEWEST_DAY)),
    GateBreakage("success-rate E6-success", dead(5, OLDER)),
    GateBreakage("D7-missing zero-miss E6-zero-miss", REPORT.format("left_missing", '["a"]')),
    GateBreakage("missing-W4 E6-missing", REPORT.format("found_missing", '["a","b","c","d","e"]')),
    GateBreakage("D7-suspension", "UPDATE pancake_connection SET status = 'suspended'"),
    GateBreakage("no-suspension E6-suspension", SUSPENDED),
    GateBreakage("D7-plans no-sequential-scan-W3 E3-BE-explain", "DROP INDEX account_normalized_phone_idx"),
    GateBreakage("sources-W1", MORE_SOURCES, before=ONE_ACTIVE),
    GateBreakage("sources-W2 sources-W3", MORE_SOURCES),
    GateBreakage("sources-W4", ONE_ACTIVE, before=MORE_SOURCES),
    # An owner who was changed is no correct one either: 21 % changed are at most 79 % correct.
    GateBreakage(
        "intervention-W2 auto-assign-W2",
        f"UPDATE ticket SET assignee_id = '{OWNER}' WHERE id IN {NEWEST.format('ticket_id', 150)}",
    ),
    GateBreakage("auto-assign-W2", UNASSIGNED.format(120)),
    GateBreakage("auto-assign-W4 E6-auto-assign", UNASSIGNED.format(80)),
    GateBreakage("replay-W2", "UPDATE pancake_webhook_event SET replayed_at = NULL, replay_count = 0"),
    GateBreakage(
        "reconciliation-duration-W3",
        "UPDATE pancake_cron_run SET started_at = finished_at - interval '40 minutes'"
        " WHERE id = (SELECT max(id) FROM pancake_cron_run WHERE name = 'reconcile_daily')",
    ),
    GateBreakage(
        "response-W4 E6-sla",
        "UPDATE ticket SET first_response_at = created_at + interval '40 minutes' WHERE id IN "
        + NEWEST.format("ticket_id", 70),
    ),
    GateBreakage("signature-W4", "UPDATE pancake_connection SET signature_mode = 'monitor'"),
    GateBreakage("allowlist-W4", "UPDATE pancake_connection SET allowlist_mode = 'monitor'"),
    GateBreakage("E2-BE-columns E4-1", "ALTER TABLE account RENAME COLUMN pancake_metadata TO other"),
    GateBreakage("E2-BE-diva-columns", "ALTER TABLE account RENAME COLUMN phone_code TO other"),
    GateBreakage(
        "E2-BE-ticket-sources", "UPDATE crm_master_data SET type = 'x' WHERE id = 'ticket_source_1'"
    ),
    GateBreakage(
        "E2-BE-migration-log",
        "INSERT INTO controller.migration_log (timestamp, name) VALUES (1777870069999, 'a later one')",
    ),
    GateBreakage("E3-OPS-kill-switch", KILL_SWITCH.format("false"), before=KILL_SWITCH.format("true")),
    GateBreakage(
        "E4-2",
        "INSERT INTO account (display_name, phone_code, phone_number, phone_enabled)"
        " VALUES ('An', '84', '0905111222', true)",
    ),
    GateBreakage("E4-3", "ALTER TABLE contact_book RENAME COLUMN primary_phone TO other"),
    GateBreakage("E4-4", "ALTER TABLE pancake_cron_run RENAME TO other"),
    GateBreakage("E4-5", "DELETE FROM crm_master_data WHERE id = 'ticket_source_pancake'"),
    GateBreakage(
        "E4-6",
        "DELETE FROM module_permission_action WHERE module = 'pancake_crm_integration' AND action = 'access'",
    ),
    GateBreakage("E4-7", "DELETE FROM notification_template WHERE code LIKE 'noti\\_pancake\\_%'"),
    # Without its settings the kill switch counts as on.
    GateBreakage("E4-8 E4-14", "UPDATE app_setting SET app_settings = app_settings - 'pancake_integration'"),
    GateBreakage("E4-14", KILL_SWITCH.format("true")),
    GateBreakage("E7.5-accounts", "UPDATE pg_class SET reltuples = 3000000 WHERE oid = 'account'::regclass"),
)


@contextmanager
def another_service(sandbox: Sandbox) -> Iterator[Variables]:
    """The public URL leads to it."""
    yield {"PUBLIC_URL": sandbox.hasura_url}


@contextmanager
def broken_object(sandbox: Sandbox) -> Iterator[Variables]:
    """A tracked table of others was dropped."""
    table = {"source": "default", "table": {"schema": "public", "name": "of_others"}}
    sql(sandbox, "CREATE TABLE of_others (id integer PRIMARY KEY)")
    api(sandbox, "pg_track_table", **table)
    sql(sandbox, "DROP TABLE of_others")
    api(sandbox, "reload_metadata")
    try:
        yield {}
    finally:
        api(sandbox, "drop_inconsistent_metadata")


def select_permission(verb: str, table: str, role: str, **more: Any) -> Break:
    named = {"schema": "public", "name": table}
    return metadata(f"pg_{verb}_select_permission", source="default", table=named, role=role, **more)


def call_permission(verb: str, role: str) -> Break:
    return metadata(f"{verb}_action_permission", action="pancake_replay_events", role=role)


@dataclass(frozen=True)
class SandboxBreakage:
    """What breaks a part of a running sandbox, the criteria that are red, and what the first of them says."""

    criteria: str
    broken: Callable[[Sandbox], AbstractContextManager[Variables]]
    says: str = ""


SLOW = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;
    CREATE TRIGGER slow AFTER INSERT ON pancake_webhook_event FOR EACH STATEMENT EXECUTE FUNCTION slow()
"""
CRON_EVENTS = (
    "UPDATE hdb_catalog.hdb_cron_events SET status = '{}' WHERE trigger_name = 'pancake_check_sla'"
    " AND status = '{}'"
)
PERMISSIONS = "role-permissions E2-BE-metadata-version E4-9a"
SANDBOX_BREAKAGES = (
    SandboxBreakage(
        "engine-catalog",
        by_sql(
            "CREATE TABLE hdb_catalog.hdb_source_catalog_version AS SELECT '3' AS version",
            "DROP TABLE hdb_catalog.hdb_source_catalog_version",
        ),
    ),
    SandboxBreakage(
        "engine-insert database-rights",
        by_sql(
            "REVOKE INSERT ON pancake_webhook_event FROM pancake_handlers",
            "GRANT INSERT ON pancake_webhook_event TO pancake_handlers",
        ),
        "the role pancake_handlers cannot store a lead: permission denied",
    ),
    SandboxBreakage(
        "database-rights",
        by_sql(
            "GRANT DELETE ON account TO pancake_handlers;"
            " REVOKE UPDATE (data) ON ticket FROM pancake_operators",
            "REVOKE DELETE ON account FROM pancake_handlers;"
            " GRANT UPDATE (data) ON ticket TO pancake_operators",
        ),
        "missing: pancake_operators UPDATE public.ticket data;"
        " too much: pancake_handlers DELETE public.account",
    ),
    SandboxBreakage(
        "engine-crons D0-crons E4-9b",
        by_sql(CRON_EVENTS.format("delivered", "scheduled"), CRON_EVENTS.format("scheduled", "delivered")),
    ),
    SandboxBreakage("E3-BE-trigger", without_sql_triggers),
    SandboxBreakage("engine-consistent", broken_object),
    SandboxBreakage("D0-webhook E4-10 E2-OPS-route", another_service),
    SandboxBreakage("E3-BE-capacity", by_sql(SLOW, "DROP FUNCTION slow() CASCADE")),
    SandboxBreakage(
        "E7.7-7",
        metadata(
            "create_cron_trigger", name="night_batch", webhook="http://127.0.0.1:9/night",
            schedule="5 19 * * *", include_in_metadata=True,
        ),
        "night_batch (5 19 * * *)",
    ),
    SandboxBreakage(
        f"allow-list {PERMISSIONS}", metadata("drop_collection_from_allowlist", collection="pancake_reports")
    ),
    SandboxBreakage(
        PERMISSIONS,
        select_permission("drop", "view_pancake_report_owner", "crm_admin"),
        "crm_admin may not use ",
    ),
    SandboxBreakage(
        PERMISSIONS,
        select_permission(
            "create", "pancake_webhook_event", "crm_manager", permission={"columns": "*", "filter": {}}
        ),
        "crm_manager sees ",
    ),
    SandboxBreakage(
        PERMISSIONS,
        call_permission("create", "crm_manager"),
        "crm_manager sees pancake_replay_events or a part of it",
    ),
    SandboxBreakage(
        PERMISSIONS,
        call_permission("create", "pancake_edge"),
        "pancake_edge sees pancake_replay_events or a part of it",
    ),
    SandboxBreakage(
        PERMISSIONS,
        call_permission("drop", "crm_admin"),
        "crm_admin may not use pancake_replay_events: ",
    ),
)  # fmt: skip
