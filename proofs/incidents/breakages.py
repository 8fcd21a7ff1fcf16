"""What can break in a running sandbox: how it is done and undone, and everything that has to name it.

`leads status`, the alerts, the precheck and the gates are tested from this table, and live incidents of the
same faults break and mend with it. tests/support/breakages.py adds the faults that need a fake, and
tests/ops/golive/test_gates.py those that only rows of a pilot of weeks can show.
"""

from dataclasses import dataclass

from proofs.incidents.faults import (
    STATEMENTS,
    Break,
    broken_object,
    by,
    by_metadata,
    by_pancake,
    by_role_setting,
    by_setting,
    by_sql,
    by_variable,
    few_connections,
    full_disk,
    locked_rosters,
    locked_table,
    moved_webhook,
    pancake_outage,
    read_only_database,
    rename_setting,
    wiped,
    without_crons,
    without_database,
    without_edge,
    without_future_runs,
    without_rights,
    without_service,
)
from sandbox.postgres.database import HANDLERS
from sandbox.stack.connection import STAFF


@dataclass(frozen=True)
class Breakage:
    """A fault, and what names it; a field is empty if nothing does.

    `check`: the check that `leads status` names as the cause.
    `text`: what that says, or without it the first criterion; a regular expression.
    `alerts`: those that fire, without the `Pancake` before them, separated by spaces. Their pages have it.
    `criteria`: the criteria of the go-live that fail, and no other of their parts; separated by spaces.
    `gates`: those that tests/ops/golive/test_gates.py asks; `broken` is of SQL alone then.
    `incident`: the live incident of the catalogue that has this fault.
    `person`: what a person has to do, in the words of the printed cure; without it its commands mend it.
    """

    name: str
    broken: Break
    check: str = ""
    text: str = ""
    alerts: str = ""
    criteria: str = ""
    gates: str = ""
    incident: str = ""
    person: str = ""


SQL_TRIGGER = '"notify_hasura_pancake_webhook_event_status_update_INSERT"'
NO_SQL_TRIGGER = f"ALTER TABLE pancake_webhook_event DISABLE TRIGGER {SQL_TRIGGER}"
NO_CONNECTION = "UPDATE pancake_connection SET status = 'disabled'"
CONNECTION = "UPDATE pancake_connection SET status = 'active'"
NO_SOURCE = "UPDATE pancake_source SET is_active = false"
SOURCES = "UPDATE pancake_source SET is_active = true WHERE pancake_source_id IN ('-1', '24895', '-5')"
NO_MEMBERS = "UPDATE pancake_assignee SET is_active = false"
MEMBERS = "UPDATE pancake_assignee SET is_active = true"
OFF_DUTY = "UPDATE staff SET on_duty = false"
ON_DUTY = f"UPDATE staff SET on_duty = true WHERE id = ANY ('{{{','.join(STAFF[:5])}}}')"
AT_CAP = (
    "UPDATE pancake_assignee SET daily_cap = 1, assigned_today = greatest(assigned_today, 1),"
    " assigned_on = (now() AT TIME ZONE 'Asia/Ho_Chi_Minh')::date"
)
NO_CAP = "UPDATE pancake_assignee SET daily_cap = NULL"
RUNS = (
    "UPDATE pancake_cron_run SET scheduled_time = scheduled_time {0} interval '3 days',"
    " finished_at = finished_at {0} interval '3 days' WHERE name = 'reconcile_daily'"
)
LONG_AGO = "scheduled_time < now() - interval '1 day'"

OUR_METADATA = "E2-BE-metadata-version E4-9a"
PERMISSIONS = f"role-permissions {OUR_METADATA}"
OLD_CATALOG = "hdb_catalog.hdb_source_catalog_version"
NIGHT_BATCH = {
    "name": "night_batch", "webhook": "http://127.0.0.1:9/night", "schedule": "5 19 * * *",
    "include_in_metadata": True,
}  # fmt: skip
SELECT_OF_ADMIN = {"source": "default", "table": "view_pancake_report_owner", "role": "crm_admin"}
SELECT_OF_MANAGER = {
    "source": "default", "table": "pancake_webhook_event", "role": "crm_manager",
    "permission": {"columns": "*", "filter": {}},
}  # fmt: skip
ROW_SECURITY = "ALTER TABLE account {} ROW LEVEL SECURITY"
POLICY = "CREATE POLICY of_diva ON account TO postgres USING (true)"
NO_POLICIES = "DROP POLICY IF EXISTS of_diva ON account; DROP POLICY IF EXISTS pancake ON account"
REPLAY = "pancake_replay_events"

TRIGGER = "pancake_webhook_event_status_update"
TRIGGER_SAVED_IN_CONSOLE = {
    "name": TRIGGER, "table": {"schema": "public", "name": "pancake_webhook_event"},
    "webhook": "{{HANDLERS_URL}}/events/process_record", "webhook_from_env": None,
    "insert": {"columns": "*"}, "update": {"columns": ["received_at"]}, "delete": None,
    "enable_manual": True, "replace": True, "source": "default",
    "retry_conf": {"num_retries": 20, "interval_sec": 15, "timeout_sec": 30},
    "headers": [{"name": "X-Handler-Secret", "value_from_env": "HANDLER_SECRET"}],
}  # fmt: skip
"""What pg_create_event_trigger gets when our trigger is saved in the console, as it was recorded."""

BREAKAGES = (
    Breakage(
        "the database refuses connections", without_database, "database", "not currently acc",
        "DatabaseDown SqlMetricsStale", incident="database_down",
        person="on its server, if PostgreSQL has ended",
    ),
    Breakage(
        "a wrong password in `DATABASE_URL`",
        by_variable("DATABASE_URL", lambda sandbox: sandbox.database_url.replace("@", "x@")),
        "database", "password auth", person="Check user and password in DATABASE_URL",
    ),
    Breakage(
        "PostgreSQL takes no writes", read_only_database, "database", "transaction_read_only is on",
        "DatabaseReadOnly",
    ),
    Breakage(
        "the disk of PostgreSQL is full", full_disk, "database", "its disk is full.* No space left",
        "CronMissed", person="The administrator of PostgreSQL makes room",
    ),
    Breakage(
        "a session holds a lock on the events", locked_table, "tables", "forgotten psql", "SqlMetricStale",
    ),
    Breakage("Hasura is away", without_service("hasura"), "hasura", "does not answer", "EngineDown",
             incident="engine_down"),
    Breakage(
        "a wrong admin secret", by_variable("HASURA_ADMIN_SECRET", lambda _: "wrong"), "metadata-read",
        "admin secret", person="Check HASURA_ADMIN_SECRET",
    ),
    Breakage("our metadata were wiped", wiped, "metadata", "pieces are missing", "EventTriggerMissing",
             incident="metadata_wiped"),
    Breakage(
        "the event trigger was deleted",
        by_metadata(("pg_delete_event_trigger", {"name": TRIGGER, "source": "default"})), "event-trigger",
        "SQL trigger .* is missing", "EventTriggerMissing",
    ),
    Breakage(
        "the SQL trigger is disabled",  # as by a dump that was restored without triggers
        by_sql(NO_SQL_TRIGGER, NO_SQL_TRIGGER.replace("DISABLE", "ENABLE")),
        "event-trigger",
        "is disabled",
        "EventTriggerMissing", "E3-BE-trigger",
    ),
    Breakage(
        "our event trigger was saved in the console",
        by_metadata(("pg_create_event_trigger", TRIGGER_SAVED_IN_CONSOLE)), "drift",
        "insert.payload, .* .all columns are delivered", "WholeRowsDelivered",
    ),
    Breakage(
        "our event trigger calls another address", moved_webhook, "drift", "no lead is processed",
        "LeadWaits",
    ),
    Breakage(
        "the SQL trigger was dropped",
        by(lambda system: system.sql(f"DROP TRIGGER {SQL_TRIGGER} ON pancake_webhook_event"),
           lambda system: system.metadata("reload_metadata", {"recreate_event_triggers": True})),
        "event-trigger", "is missing", "EventTriggerMissing",
    ),
    Breakage(
        "the crons were deleted", without_crons, "metadata", "cron trigger pancake_", "CronTicksGone",
    ),
    Breakage(
        "the future runs of the crons are gone", without_future_runs, "schedule", "future run",
        "CronTicksGone", "engine-crons",
    ),
    Breakage(
        "our calls left the allow list",
        by_metadata(("drop_collection_from_allowlist", {"collection": "pancake_calls"})), "metadata",
        "allow-list entry pancake_calls", "AllowListStopsUs", f"allow-list {OUR_METADATA}",
        incident="allow_list_on",
    ),
    Breakage(
        "the permission for `sendNotifications` was dropped",
        by_metadata(("drop_action_permission", {"action": "sendNotifications", "role": "pancake_service"})),
        "notifications", "not allowed for pancake_service", "NotificationsForbidden",
    ),
    Breakage(
        "the rights on a table were revoked", without_rights, "role-rights",
        "missing: pancake_handlers .* public.ticket", "BurnFast ErrorsLogged", "database-rights",
    ),
    Breakage(
        "a table of Diva has row level security without us",
        by_sql(f"{POLICY}; {ROW_SECURITY.format('ENABLE')}",
               f"{NO_POLICIES}; {ROW_SECURITY.format('DISABLE')}"),
        "role-rights",
        "row level security of public.account lets no row pass to pancake_handlers, pancake_operators",
        "BurnFast ErrorsLogged", "database-rights",
    ),
    Breakage(
        "the login of the handlers may open few connections", few_connections, "role-settings",
        "the login of handlers: CONNECTION LIMIT is 2, 10 are needed", "WebhookLatencyP99High EdgeSpoolStuck",
    ),
    Breakage(
        "the login of the handlers may only read",
        by_role_setting(HANDLERS, "default_transaction_read_only = on"), "role-settings",
        "the login of handlers: default_transaction_read_only is on", "DatabaseReadOnly",
    ),
    Breakage(
        "the login of the handlers has a short `statement_timeout`",
        by_role_setting(HANDLERS, "statement_timeout = '500ms'", is_of_database=True), "role-settings",
        "the login of handlers: statement_timeout is 500ms, 10 s are needed",
    ),
    Breakage(
        "the handlers are away", without_service("handlers"), "handlers", "does not answer", "HandlersDown",
        incident="handlers_down",
    ),
    Breakage("the edge is away", without_edge, "edge", "does not answer", "EdgeDown"),
    Breakage(
        "all settings were lost",
        by_sql(rename_setting("pancake_integration", "lost"), rename_setting("lost", "pancake_integration")),
        "settings", "all settings were lost at .* .by postgres.", "KillSwitchOn", person="Restore them",
    ),
    Breakage(
        "the kill switch is on", by_setting("kill_switch"), "kill-switch", "on since .* by postgres",
        "KillSwitchOn SwitchLeftOn", gates="E4-14 switches-off", incident="kill_switch_left_on",
    ),
    Breakage(
        "processing is paused", by_setting("processing_paused"), "pause", "since .* by postgres",
        "SwitchLeftOn", gates="E4-14 switches-off",
    ),
    Breakage(
        "the connection is disabled", by_sql(NO_CONNECTION, CONNECTION), "connection", "by postgres",
        "ConnectionOff", incident="connection_off",
    ),
    Breakage(
        "no source is active", by_sql(NO_SOURCE, SOURCES), "sources", "no source is active", "SourceOff",
        incident="source_off",
    ),
    Breakage(
        "one source is switched off, and brings leads",
        by_sql(STATEMENTS["breakages/hold_lead"], f"{SOURCES}; {STATEMENTS['breakages/delete_waiting']}"),
        "sources", "source Facebook is off since .* by postgres; leads held: 1", "SourceOff",
    ),
    Breakage(
        "Pancake refuses the API key", by_pancake("unauthorized"), "api-key", "Pancake answered 401",
        "ApiKeyInvalid",
        person="Create a key in Pancake",
    ),
    Breakage(
        "Pancake has suspended the webhook",
        by_sql("UPDATE pancake_connection SET status = 'suspended'", CONNECTION),
        "webhook", "suspended its webhook", "WebhookSuspended", person="see that it is on",
    ),
    Breakage(
        "Pancake answers nothing", pancake_outage, "webhook", "neither by webhook nor by API", "OutageActive",
        person="tell marketing",
    ),
    Breakage(
        "the rosters are empty", by_sql(NO_MEMBERS, MEMBERS), "rosters", "no active member: default",
        "UnassignedWaits", person="add members",
    ),
    Breakage(
        "no member is on duty", by_sql(OFF_DUTY, ON_DUTY), "rosters", "no member on duty", "UnassignedWaits",
        person="Put staff on duty",
    ),
    Breakage(
        "all members reached their daily cap", by_sql(AT_CAP, NO_CAP), "rosters",
        "all members on duty reached their daily cap: default", "UnassignedWaits", person="raise the caps",
    ),
    Breakage(
        "a session holds a lock on the rosters", locked_rosters, "locks",
        "forgotten psql.* blocks 1 session, for up to", "LeadWaits",
    ),
    Breakage(
        "an event is stuck",
        by_sql(STATEMENTS["breakages/store_waiting"], STATEMENTS["breakages/delete_waiting"]),
        "queue", "1 overdue: ingested 1", "LeadWaits",
        person="leads cron run retry_failed",  # which fires it again when its claim has ended
    ),
    Breakage(
        "a lead fails",
        by_sql(STATEMENTS["breakages/store_failed"], STATEMENTS["breakages/delete_waiting"]), "tickets",
        "1 lead failed .internal: InsufficientPrivilege", "LeadsFailed SuccessRateLow",
    ),
    Breakage(
        "notifications are refused",
        by_sql(STATEMENTS["breakages/store_unsent"], STATEMENTS["breakages/delete_waiting"]), "unsent",
        "1 event has unsent notifications, the oldest for 5 min: Hasura passes the call on, and Diva's",
        "OutboxStuck", person="ask Diva about its service of notifications",
    ),
    Breakage(
        "a cron does not run", by_sql(RUNS.format("-"), f"{RUNS.format('+')} AND {LONG_AGO}"), "crons",
        "reconcile_daily", "CronMissed",
    ),
    Breakage(
        "the source has an old catalog of Hasura",
        by_sql(f"CREATE TABLE {OLD_CATALOG} AS SELECT '3' AS version", f"DROP TABLE {OLD_CATALOG}"),
        text="Hasura's catalog 3, 4 or later is needed", criteria="engine-catalog",
    ),
    Breakage(
        "the handlers may not store a lead",
        by_sql("REVOKE INSERT ON pancake_webhook_event FROM pancake_handlers",
               "GRANT INSERT ON pancake_webhook_event TO pancake_handlers"),
        text="the role pancake_handlers cannot store a lead: permission denied",
        criteria="engine-insert database-rights",
    ),
    Breakage(
        "the rights of the roles are not those of the list",
        by_sql("GRANT DELETE ON account TO pancake_handlers;"
               " REVOKE UPDATE (data) ON ticket FROM pancake_operators",
               "REVOKE DELETE ON account FROM pancake_handlers;"
               " GRANT UPDATE (data) ON ticket TO pancake_operators"),
        text="missing: pancake_operators UPDATE public.ticket data;"
             " too much: pancake_handlers DELETE public.account",
        criteria="database-rights",
    ),
    Breakage(
        "a table of others is inconsistent", broken_object,
        alerts="MetadataInconsistent", criteria="engine-consistent",
    ),
    Breakage(
        "the public URL leads to another service",
        by_variable("PUBLIC_URL", lambda sandbox: sandbox.hasura_url),
        criteria="edge-answers",
    ),
    Breakage(
        "inserting is slow",
        by_sql(STATEMENTS["breakages/slow_inserts"], "DROP FUNCTION slow() CASCADE"),
        criteria="E3-BE-capacity",
    ),
    Breakage(
        "a cron of others runs at two", by_metadata(("create_cron_trigger", NIGHT_BATCH)),
        text="night_batch .5 19 ", criteria="E7.7-7",
    ),
    Breakage(
        "a role lost the right to read a table", by_metadata(("pg_drop_select_permission", SELECT_OF_ADMIN)),
        text="crm_admin may not use .*field 'view_pancake_report_owner' not found", criteria=PERMISSIONS,
    ),
    Breakage(
        "a role may read a table too much", by_metadata(("pg_create_select_permission", SELECT_OF_MANAGER)),
        text="crm_manager sees ", criteria=PERMISSIONS,
    ),
    *(
        Breakage(
            f"{role}: {verb} the right to replay",
            by_metadata((f"{verb}_action_permission", {"action": REPLAY, "role": role})),
            text=says,
            criteria=PERMISSIONS,
        )
        for verb, role, says in (
            ("create", "crm_manager", f"^crm_manager sees {REPLAY} or a part of it"),
            ("create", "pancake_edge", f"^pancake_edge sees {REPLAY} or a part of it"),
            ("drop", "crm_admin", f"^crm_admin may not use {REPLAY}: "),
        )
    ),
)  # fmt: skip
"""Those with a check in the order of the rows on the pages of docs/runbook."""
