"""How what a gate measures is broken: a statement, the value of a series, an alert that is not loaded."""

from dataclasses import dataclass

OWNER = "c0000000-0000-4000-8000-000000000002"
NEWEST = "(SELECT {} FROM pancake_webhook_event ORDER BY created_at DESC LIMIT {})"
NEWEST_DAY = "created_at > now() - interval '23 hours'"
OLDER = "created_at < now() - interval '2 days'"
SLOW = (
    "UPDATE pancake_webhook_event SET processed_at = processed_at + interval '1 minute' WHERE id IN " + NEWEST
)
UNANSWERED = (
    "UPDATE ticket SET first_response_at = created_at + interval '40 minutes' WHERE id IN "
    + NEWEST.format("ticket_id", 70)
)
REPORT = "UPDATE pancake_cron_run SET report = jsonb_set(report, '{{days,0,{}}}', '{}') WHERE id = " + (
    "(SELECT max(id) FROM pancake_cron_run WHERE name = 'reconcile_daily' AND finished_at < now()"
    " AND finished_at > now() - interval '1 day')"
)
LEFT, FOUND = REPORT.format("left_missing", '["a"]'), REPORT.format("found_missing", '["a","b","c","d","e"]')
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
DEAD = (
    "UPDATE pancake_webhook_event SET status = 'dead_letter', error_code = 'internal', outcome = NULL"
    " WHERE id IN"
)


@dataclass(frozen=True)
class Break:
    """A statement that breaks a criterion, the `value` of its series, or the `alert` that is not loaded.

    `also` breaks with it, always.

    `before` brings the database into the state in which the criterion passes.
    """

    statement: str = ""
    value: str = ""
    alert: str = ""
    also: frozenset[str] = frozenset()
    before: str = ""


def dead(number: int, condition: str) -> str:
    return f"{DEAD} (SELECT id FROM pancake_webhook_event WHERE {condition} ORDER BY id LIMIT {number})"


UNINDEXED = "DROP INDEX account_normalized_phone_idx"
ONE_ACTIVE = "UPDATE pancake_source SET is_active = pancake_source_id = 'source-1'"
KILL_SWITCH = (
    "UPDATE app_setting SET app_settings ="
    " jsonb_set(app_settings, '{{pancake_integration,kill_switch}}', '{}')"
)
STARTED = f"{ONE_ACTIVE}; {KILL_SWITCH.format('false')}"
BREAKS: dict[str, Break] = {
    "D0-trigger": Break(
        f"UPDATE pancake_webhook_event SET processed_at = processed_at + interval '5 s' WHERE {NEWEST_DAY}"
    ),
    "D0-errors": Break(value="17"),
    "D0-metrics": Break(value="0"),
    "D7-dead-letters": Break(dead(2, NEWEST_DAY)),
    "D7-errors": Break(value="17"),
    "D7-missing": Break(LEFT),
    "D7-suspension": Break("UPDATE pancake_connection SET status = 'suspended'"),
    "D7-plans": Break(UNINDEXED),
    "G-7": Break(alert="PancakeOutageActive"),
    "success-rate": Break(dead(5, OLDER)),
    "success-rate-day": Break(dead(2, NEWEST_DAY)),
    "webhook-latency": Break(value="1.5"),
    "process-latency": Break(SLOW.format("id", 70)),
    "zero-miss": Break(LEFT),
    "no-suspension": Break(SUSPENDED),
    "sources-W1": Break(MORE_SOURCES, before=ONE_ACTIVE),
    "sources-W2": Break(MORE_SOURCES),
    # An owner who was changed is no correct one either: 21 % changed are at most 79 % correct.
    "intervention-W2": Break(
        f"UPDATE ticket SET assignee_id = '{OWNER}' WHERE id IN {NEWEST.format('ticket_id', 150)}",
        also=frozenset({"auto-assign-W2"}),
    ),
    "auto-assign-W2": Break(UNASSIGNED.format(120)),
    "replay-W2": Break("UPDATE pancake_webhook_event SET replayed_at = NULL, replay_count = 0"),
    "reconciliation-duration-W3": Break(
        "UPDATE pancake_cron_run SET started_at = finished_at - interval '40 minutes'"
        " WHERE id = (SELECT max(id) FROM pancake_cron_run WHERE name = 'reconcile_daily')"
    ),
    "memory-W3": Break(value="300"),
    "no-sequential-scan-W3": Break(UNINDEXED),
    "sources-W3": Break(MORE_SOURCES),
    "sources-W4": Break(ONE_ACTIVE, before=MORE_SOURCES),
    "response-W4": Break(UNANSWERED),
    "auto-assign-W4": Break(UNASSIGNED.format(80)),
    "signature-W4": Break("UPDATE pancake_connection SET signature_mode = 'monitor'"),
    "allowlist-W4": Break("UPDATE pancake_connection SET allowlist_mode = 'monitor'"),
    "missing-W4": Break(FOUND),
    "E2-BE-columns": Break("ALTER TABLE account RENAME COLUMN pancake_metadata TO other"),
    "E2-BE-diva-columns": Break("ALTER TABLE account RENAME COLUMN phone_code TO other"),
    "E2-BE-ticket-sources": Break("UPDATE crm_master_data SET type = 'x' WHERE id = 'ticket_source_1'"),
    "E2-BE-migration-log": Break(
        "INSERT INTO controller.migration_log (timestamp, name) VALUES (1777870069999, 'a later one')"
    ),
    "E2-OPS-scrape": Break(value="1"),
    "E2-OPS-alerts": Break(alert="PancakeDlqCountHigh"),
    "E3-BE-explain": Break(UNINDEXED),
    "E3-OPS-kill-switch": Break(KILL_SWITCH.format("false"), before=KILL_SWITCH.format("true")),
    "E4-1": Break("ALTER TABLE account RENAME COLUMN pancake_metadata TO other"),
    "E4-2": Break(
        "INSERT INTO account (display_name, phone_code, phone_number, phone_enabled)"
        " VALUES ('An', '84', '0905111222', true)"
    ),
    "E4-3": Break("ALTER TABLE contact_book RENAME COLUMN primary_phone TO other"),
    "E4-4": Break("ALTER TABLE pancake_cron_run RENAME TO other"),
    "E4-5": Break("DELETE FROM crm_master_data WHERE id = 'ticket_source_pancake'"),
    "E4-6": Break(
        "DELETE FROM module_permission_action WHERE module = 'pancake_crm_integration' AND action = 'access'"
    ),
    "E4-7": Break("DELETE FROM notification_template WHERE code LIKE 'noti\\_pancake\\_%'"),
    # Without its settings the kill switch counts as on.
    "E4-8": Break(
        "UPDATE app_setting SET app_settings = app_settings - 'pancake_integration'",
        also=frozenset({"E4-14"}),
    ),
    "E4-11": Break(value="0"),
    "E4-14": Break(KILL_SWITCH.format("true")),
    "E6-latency": Break(SLOW.format("id", 70)),
    "E6-sla": Break(UNANSWERED),
    "E6-auto-assign": Break(UNASSIGNED.format(80)),
    "E6-success": Break(dead(5, OLDER)),
    "E6-zero-miss": Break(LEFT),
    "E6-suspension": Break(SUSPENDED),
    "E6-missing": Break(FOUND),
    "heartbeat": Break(value="0"),
    "E7.1": Break(alert="PancakeCircuitBreakerOpenLong"),
    "E7.5-accounts": Break("UPDATE pg_class SET reltuples = 3000000 WHERE oid = 'account'::regclass"),
}  # fmt: skip
"""By id. tests/leads/cli/test_golive_breaks.py names those that have a test of their kind alone."""
