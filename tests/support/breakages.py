"""Parts of a running sandbox to break, each with the line of `leads status` that has to name it."""

from dataclasses import dataclass

from sandbox.stack.connection import STAFF
from tests.support import breaking
from tests.support.breaking import Break, by_setting, by_sql, metadata, with_, without_service
from tests.support.console import TRIGGER, TRIGGER_SAVED_IN_CONSOLE


@dataclass(frozen=True)
class Breakage:
    """A part, how to break it, and the line and words with which `leads status` has to name it."""

    name: str
    broken: Break
    line: str
    text: str


NO_CONNECTION = "UPDATE pancake_connection SET status = 'disabled'"
CONNECTION = "UPDATE pancake_connection SET status = 'active'"
NO_SOURCE = "UPDATE pancake_source SET is_active = false"
SOURCES = "UPDATE pancake_source SET is_active = true WHERE pancake_source_id IN ('-1', '24895', '-5')"
NO_MEMBERS = "UPDATE pancake_assignee SET is_active = false"
MEMBERS = "UPDATE pancake_assignee SET is_active = true"
OFF_DUTY = "UPDATE staff SET on_duty = false"
ON_DUTY = f"UPDATE staff SET on_duty = true WHERE id = ANY ('{{{','.join(STAFF[:5])}}}')"
RUNS = (
    "UPDATE pancake_cron_run SET scheduled_time = scheduled_time {0} interval '3 days',"
    " finished_at = finished_at {0} interval '3 days' WHERE name = 'reconcile_daily'"
)

BREAKAGES = (
    Breakage("the database refuses connections", breaking.without_database, "database", "not currently acc"),
    Breakage("a wrong password in `DATABASE_URL`", breaking.wrong_password, "database", "password auth"),
    Breakage("a session holds a lock on the events", breaking.locked_table, "database", "forgotten psql"),
    Breakage("Hasura is away", without_service("hasura"), "Hasura", "does not answer"),
    Breakage("a wrong admin secret", with_(HASURA_ADMIN_SECRET="wrong"), "metadata", "admin secret"),
    Breakage("our metadata were wiped", breaking.wiped, "metadata", "pieces are missing"),
    Breakage(
        "the event trigger was deleted",
        metadata("pg_delete_event_trigger", name=TRIGGER, source="default"),
        "event trigger",
        "SQL trigger .* is missing",
    ),
    Breakage("the SQL trigger is disabled", breaking.without_sql_triggers, "event trigger", "is disabled"),
    Breakage(
        "our event trigger was saved in the console",
        metadata("pg_create_event_trigger", **TRIGGER_SAVED_IN_CONSOLE),
        "metadata",
        "insert.payload .all columns are delivered",
    ),
    Breakage("the crons were deleted", breaking.without_crons, "metadata", "cron trigger pancake_"),
    Breakage("the future runs of the crons are gone", breaking.without_future_runs, "schedule", "future run"),
    Breakage(
        "our calls left the allow list",
        metadata("drop_collection_from_allowlist", collection="pancake_calls"),
        "metadata",
        "allow-list entry pancake_calls",
    ),
    Breakage(
        "the permission for `sendNotifications` was dropped",
        metadata("drop_action_permission", action="sendNotifications", role="pancake_service"),
        "notifications",
        "not allowed for pancake_service",
    ),
    Breakage("the handlers are away", without_service("handlers"), "handlers", "does not answer"),
    Breakage("the edge is away", breaking.without_edge, "edge", "does not answer"),
    Breakage("the spool of the edge grows", breaking.spooling_edge, "edge", "640 deliveries wait.*hasura"),
    Breakage("the kill switch is on", by_setting("kill_switch"), "kill switch", "on since .* by postgres"),
    Breakage("processing is paused", by_setting("processing_paused"), "pause", "since .* by postgres"),
    Breakage("the connection is disabled", by_sql(NO_CONNECTION, CONNECTION), "connection", "by postgres"),
    Breakage("no source is active", by_sql(NO_SOURCE, SOURCES), "sources", "no source is active"),
    Breakage("Pancake refuses the API key", breaking.refused_key, "Pancake", "Pancake answered 401"),
    Breakage("the rosters are empty", by_sql(NO_MEMBERS, MEMBERS), "rosters", "no active member: default"),
    Breakage("no one is on duty", by_sql(OFF_DUTY, ON_DUTY), "rosters", "no one on duty"),
    Breakage("an event is stuck", breaking.waiting_event, "queue", "1 overdue: ingested 1"),
    Breakage("a cron does not run", by_sql(RUNS.format("-"), RUNS.format("+")), "crons", "reconcile_daily"),
)
"""In the order in which one part needs another, as in the table of docs/status.md."""
