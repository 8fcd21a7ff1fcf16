"""What the database of our tables says, asked by SQL through the engine, with the engine's own rights."""

from collections.abc import Iterator, Mapping
from typing import Any

from ops.metadata.engine import Engine
from ops.metadata.pieces import Key

WAITING = "SELECT count(*) FROM public.pancake_webhook_event WHERE status = 'received'"
TRIGGERS = """
    SELECT n.nspname || '.' || c.relname, t.tgname, t.tgenabled IN ('O', 'A')
    FROM pg_catalog.pg_trigger AS t
    JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE t.tgname LIKE 'notify_hasura_%'
"""
"""The last column: whether it fires, and is neither disabled nor for replication only."""

REINSTALL = r"""Install it again:
printf 'X-Hasura-Admin-Secret: %s' \
"$HASURA_ADMIN_SECRET" | curl -H @- \
"$HASURA_URL/v1/metadata" -d \
'{"type": "reload_metadata", "args":
{"recreate_event_triggers": true}}'"""
"""The secret goes through a pipe: arguments are seen by every user of the machine. No line is wrapped by a
screen: a shell would take a part for a call, and the secret for its name."""
ENABLE = 'Enable it again as the owner of the table; psql: ALTER TABLE {} ENABLE TRIGGER "{}"'

HAS_CATALOG = "SELECT to_regclass('hdb_catalog.hdb_source_catalog_version') IS NOT NULL"
CATALOG = "SELECT version FROM hdb_catalog.hdb_source_catalog_version"
MIN_CATALOG = 4
"""Before it, an engine behind a transaction pooler can leave `hasura.user` empty, and each INSERT fails."""

INSERT = """
    DO $preflight$
    DECLARE
        connection uuid;
        refusal text := '';
    BEGIN
        BEGIN
            SELECT id INTO connection FROM public.pancake_connection LIMIT 1;
            IF connection IS NULL THEN
                INSERT INTO public.pancake_connection (name, workspace_id, token_sha256, api_key_encrypted)
                VALUES ('preflight', 0, sha256('preflight'), '') RETURNING id INTO connection;
            END IF;
            SET LOCAL ROLE pancake_handlers;
            PERFORM hdb_catalog.insert_event_log(
                'public', 'pancake_webhook_event', 'pancake_preflight', 'INSERT', '{}'::json
            );
            INSERT INTO public.pancake_webhook_event
                (connection_id, origin, payload_hash, status, arrived_at, created_at)
            VALUES (connection, 'webhook', sha256('preflight'), 'received', now(), now());
            RAISE EXCEPTION USING ERRCODE = 'PK000';
        EXCEPTION
            WHEN SQLSTATE 'PK000' THEN NULL;
            WHEN OTHERS THEN refusal := SQLERRM;
        END;
        PERFORM set_config('leads.refusal', refusal, true);
    END
    $preflight$;
    SELECT current_setting('leads.refusal')
"""
"""A lead as the handlers store it, undone by the exception: nothing stays but a gap in the numbers of events.

The engine's trigger functions run with the rights of the session that writes the row, and call
`insert_event_log`.
"""

RIGHTS = """
    SELECT has_schema_privilege('pancake_handlers', 'hdb_catalog', 'USAGE')
        AND has_table_privilege('pancake_handlers', 'hdb_catalog.event_log', 'INSERT')
        AND has_table_privilege('pancake_handlers', 'public.pancake_webhook_event', 'INSERT')
"""
"""For an engine whose role may not take the role of the handlers."""


def count_waiting(engine: Engine, source: str) -> int:
    """Count the rows that wait to be processed. Raises MetadataError."""
    return int(engine.run_sql(WAITING, source)[0][0])


def sql_triggers(pieces: Mapping[Key, Any]) -> Iterator[tuple[str, str]]:
    """Yield table and name of each SQL trigger that the event triggers on our tables need.

    The names are those of `Backends/Postgres/DDL/EventTrigger.hs`.
    """
    for (kind, table), piece in pieces.items():
        for trigger in piece.get("event_triggers", []) if kind == "table" else []:
            for operation in ("insert", "update", "delete"):
                if operation in trigger["definition"]:
                    yield table, f"notify_hasura_{trigger['name']}_{operation.upper()}"
