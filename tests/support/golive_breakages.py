"""What breaks each criterion that asks a running sandbox."""

from collections.abc import Mapping

from leads.cli.golive.precheck import other_probes
from leads.cli.metadata.engine import Engine
from tests.support.golive_ground import (
    Breakage,
    by_another_edge,
    by_broken_object,
    by_manifest,
    by_metadata,
    by_old_snapshot,
    by_other_staging,
    by_patch,
    by_short_retention,
    by_sql,
    no_package,
    set_image,
    set_variable,
)

TRIGGER = "notify_hasura_pancake_webhook_event_status_update_INSERT"
CRON = "pancake_check_sla"
SLOW = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;
    CREATE TRIGGER slow AFTER INSERT ON pancake_webhook_event FOR EACH STATEMENT EXECUTE FUNCTION slow()
"""
EVENTS = {"source": "default", "table": {"schema": "public", "name": "pancake_webhook_event"}}
RUNS = {"source": "default", "table": {"schema": "public", "name": "pancake_cron_run"}, "role": "crm_manager"}
OTHER_PERMISSION = by_metadata(
    ("pg_create_select_permission", RUNS | {"permission": {"columns": "*", "filter": {}}}),
    ("pg_drop_select_permission", RUNS),
)
NO_EVENTS = by_sql(
    f"UPDATE hdb_catalog.hdb_cron_events SET status = 'delivered' WHERE trigger_name = '{CRON}'",
    f"UPDATE hdb_catalog.hdb_cron_events SET status = 'scheduled' WHERE trigger_name = '{CRON}'",
)
FOREIGN_CRON = {
    "name": "night_batch", "webhook": "http://127.0.0.1:9/night", "schedule": "5 19 * * *",
    "include_in_metadata": True,
}  # fmt: skip

BREAKAGES: Mapping[str, tuple[Breakage, set[str]]] = {
    "engine-catalog": (
        by_sql(
            "CREATE TABLE hdb_catalog.hdb_source_catalog_version AS SELECT '3' AS version",
            "DROP TABLE hdb_catalog.hdb_source_catalog_version",
        ),
        set(),
    ),
    "engine-no-downgrade": (by_manifest(set_image), set()),
    "engine-insert": (
        by_sql(
            "REVOKE INSERT ON pancake_webhook_event FROM pancake_handlers",
            "GRANT INSERT ON pancake_webhook_event TO pancake_handlers",
        ),
        {"database-rights"},
    ),
    "engine-crons": (NO_EVENTS, set()),
    "D0-crons": (NO_EVENTS, set()),
    "E4-9b": (NO_EVENTS, set()),
    "E4-9a": (OTHER_PERMISSION, set()),
    "E2-BE-metadata-version": (OTHER_PERMISSION, {"role-permissions"}),
    "D0-webhook": (by_another_edge, set()),
    "E4-10": (by_another_edge, set()),
    "E2-OPS-route": (by_another_edge, set()),
    "engine-version": (by_patch(Engine, "version", lambda _: "v2.40.0"), set()),
    "engine-consistent": (by_broken_object, set()),
    "staging-metadata": (by_other_staging, set()),
    "database-snapshot": (by_old_snapshot, set()),
    "database-rights": (
        by_sql(
            "REVOKE SELECT (erased_at) ON customer_erasure FROM pancake_operators",
            "GRANT SELECT (erased_at) ON customer_erasure TO pancake_operators",
        ),
        set(),
    ),
    "E2-BE-phone-library": (by_patch(other_probes, "version", no_package), {"E2-BE-breaker-library"}),
    "E2-BE-breaker-library": (by_patch(other_probes, "version", no_package), {"E2-BE-phone-library"}),
    "E7.7-9": (by_short_retention, set()),
    "engine-pool": (by_manifest(set_variable("HASURA_GRAPHQL_EVENTS_HTTP_POOL_SIZE", "20")), set()),
    "engine-stop": (by_manifest(lambda pod: pod.update(terminationGracePeriodSeconds=30)), set()),
    "engine-logs": (by_manifest(set_variable("HASURA_GRAPHQL_ENABLED_LOG_TYPES", "http-log")), set()),
    "E3-BE-trigger": (
        by_sql(
            f'ALTER TABLE pancake_webhook_event DISABLE TRIGGER "{TRIGGER}"',
            f'ALTER TABLE pancake_webhook_event ENABLE TRIGGER "{TRIGGER}"',
        ),
        set(),
    ),
    "E7.7-7": (
        by_metadata(("create_cron_trigger", FOREIGN_CRON), ("delete_cron_trigger", {"name": "night_batch"})),
        set(),
    ),
    "allow-list": (
        by_metadata(
            ("drop_collection_from_allowlist", {"collection": "pancake_reports"}),
            ("add_collection_to_allowlist", {"collection": "pancake_reports"}),
        ),
        {"E2-BE-metadata-version", "role-permissions"},
    ),
    "role-permissions": (
        by_metadata(
            (
                "pg_create_select_permission",
                EVENTS | {"role": "crm_manager", "permission": {"columns": "*", "filter": {}}},
            ),
            ("pg_drop_select_permission", EVENTS | {"role": "crm_manager"}),
        ),
        {"E2-BE-metadata-version"},
    ),
    "database-connections": (by_manifest(set_variable("HASURA_GRAPHQL_PG_CONNECTIONS", "900")), set()),
    "E3-BE-capacity": (
        by_sql(SLOW, "DROP FUNCTION slow() CASCADE"),
        set(),
    ),
    "E2-BE-ticket-sources": (
        by_sql(
            "UPDATE crm_master_data SET type = 'x' WHERE id = 'ticket_source_8'",
            "UPDATE crm_master_data SET type = 'ticket_source' WHERE id = 'ticket_source_8'",
        ),
        set(),
    ),
    "E2-BE-migration-log": (
        by_sql(
            "INSERT INTO controller.migration_log VALUES (1777870069999, 'theirs')",
            "DELETE FROM controller.migration_log WHERE timestamp = 1777870069999",
        ),
        set(),
    ),
    "E2-BE-diva-columns": (
        by_sql(
            "ALTER TABLE customer_consent RENAME COLUMN consent_version TO version",
            "ALTER TABLE customer_consent RENAME COLUMN version TO consent_version",
        ),
        {"database-rights"},
    ),
    "E3-OPS-kill-switch": (
        by_sql(
            "UPDATE view_pancake_setting SET kill_switch = false",
            "UPDATE view_pancake_setting SET kill_switch = true",
        ),
        set(),
    ),
}
"""By the criterion that it breaks, with the other criteria that rightly see the same."""
ELSEWHERE = {"E2-OPS-tls"}
"""tests/leads/cli/golive/test_precheck_probes.py has the server with a certificate."""
