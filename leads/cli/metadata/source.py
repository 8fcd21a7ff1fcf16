"""What the database of our tables says, asked by SQL through the engine, with the engine's own rights."""

from collections.abc import Iterator, Mapping
from typing import Any

from leads.cli.metadata.engine import Engine
from leads.cli.metadata.pieces import Key

WAITING = "SELECT count(*) FROM public.pancake_webhook_event WHERE status = 'received'"
TRIGGERS = """
    SELECT n.nspname || '.' || c.relname, t.tgname
    FROM pg_catalog.pg_trigger AS t
    JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE t.tgname LIKE 'notify_hasura_%' AND t.tgenabled IN ('O', 'A')
"""
"""Those that fire: not disabled, nor for replication only."""

REINSTALL = (
    "Install it again by the metadata API: "
    '{"type": "reload_metadata", "args": {"recreate_event_triggers": true}}'
)


def count_waiting(engine: Engine, source: str) -> int:
    """Count the rows that wait to be processed. Raises MetadataError."""
    return int(engine.run_sql(WAITING, source)[0][0])


def find_missing_triggers(engine: Engine, source: str, pieces: Mapping[Key, Any]) -> list[str]:
    """List what the engine's event triggers on our tables lack in PostgreSQL. Raises MetadataError.

    Without its SQL trigger a row makes no event, and the engine calls that consistent. The names are those of
    `Backends/Postgres/DDL/EventTrigger.hs`.
    """
    present = {(table, name) for table, name in engine.run_sql(TRIGGERS, source)}
    return [
        f"the SQL trigger {name} is missing on table {table}: its rows make no event. {REINSTALL}"
        for table, name in _sql_triggers(pieces)
        if (table, name) not in present
    ]


def _sql_triggers(pieces: Mapping[Key, Any]) -> Iterator[tuple[str, str]]:
    for (kind, table), piece in pieces.items():
        for trigger in piece.get("event_triggers", []) if kind == "table" else []:
            for operation in ("insert", "update", "delete"):
                if operation in trigger["definition"]:
                    yield table, f"notify_hasura_{trigger['name']}_{operation.upper()}"
