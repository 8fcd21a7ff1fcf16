"""Ways to break one condition of the go-live in a running sandbox, each with how it is mended."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml

from sandbox.stack.services import ROOT
from sandbox.stack.stack import Sandbox

MANIFEST = ROOT / "deploy" / "kubernetes" / "hasura.yaml"
TRIGGER = "notify_hasura_pancake_webhook_event_status_update_INSERT"
CRON = "pancake_check_sla"
SLOW = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;
    CREATE TRIGGER slow AFTER INSERT ON pancake_webhook_event FOR EACH STATEMENT EXECUTE FUNCTION slow()
"""


@dataclass(frozen=True)
class Ground:
    """The sandbox, and the folder with golive.yaml and the engine's manifest."""

    sandbox: Sandbox
    folder: Path

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.sandbox.database_url, autocommit=True) as db:
            db.execute(statement.encode())

    def metadata(self, kind: str, args: Mapping[str, Any]) -> None:
        """Call the engine's metadata API."""
        httpx.post(
            f"{self.sandbox.hasura_url}/v1/metadata",
            json={"type": kind, "args": args},
            headers={"X-Hasura-Admin-Secret": self.sandbox.keys.admin_secret},
            timeout=30,
        ).raise_for_status()

    def write_manifest(self, edit: Callable[[dict[str, Any]], None] = lambda pod: None) -> None:
        """Write the example of the repository, with its Pod edited."""
        documents = list(yaml.safe_load_all(MANIFEST.read_text("utf-8")))
        edit(documents[0]["spec"]["template"]["spec"])
        (self.folder / "hasura.yaml").write_text(yaml.safe_dump_all(documents))


Breakage = Callable[[Ground], "Iterator[None]"]


def by_sql(breaks: str, mends: str) -> Breakage:
    def broken(ground: Ground) -> Iterator[None]:
        ground.sql(breaks)
        yield
        ground.sql(mends)

    return broken


def by_metadata(breaks: tuple[str, Any], mends: tuple[str, Any]) -> Breakage:
    def broken(ground: Ground) -> Iterator[None]:
        ground.metadata(*breaks)
        yield
        ground.metadata(*mends)

    return broken


def by_manifest(edit: Callable[[dict[str, Any]], None]) -> Breakage:
    def broken(ground: Ground) -> Iterator[None]:
        ground.write_manifest(edit)
        yield
        ground.write_manifest()

    return broken


def set_variable(name: str, value: str) -> Callable[[dict[str, Any]], None]:
    """Set a variable of the engine's container."""

    def edit(pod: dict[str, Any]) -> None:
        environment = [each for each in pod["containers"][0]["env"] if each["name"] != name]
        pod["containers"][0]["env"] = [*environment, {"name": name, "value": value}]

    return edit


def set_image(pod: dict[str, Any]) -> None:
    pod["containers"][0]["image"] = "hasura/graphql-engine:v2.48.1"


@contextmanager
def broken(ground: Ground, breakage: Breakage) -> Iterator[None]:
    """Break it for the block, and mend it in any case."""
    steps = breakage(ground)
    next(steps)
    try:
        yield
    finally:
        next(steps, None)


TABLE = {"source": "default", "table": {"schema": "public", "name": "pancake_connection"}}
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
    "engine-crons": (
        by_sql(
            f"UPDATE hdb_catalog.hdb_cron_events SET status = 'delivered' WHERE trigger_name = '{CRON}'",
            f"UPDATE hdb_catalog.hdb_cron_events SET status = 'scheduled' WHERE trigger_name = '{CRON}'",
        ),
        set(),
    ),
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
        {"E2-BE-metadata-version"},
    ),
    "role-permissions": (
        by_metadata(
            (
                "pg_create_select_permission",
                TABLE | {"role": "crm_manager", "permission": {"columns": "*", "filter": {}}},
            ),
            ("pg_drop_select_permission", TABLE | {"role": "crm_manager"}),
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
        set(),
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
