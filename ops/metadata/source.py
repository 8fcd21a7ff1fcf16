"""What the database of our tables says, asked by SQL through the engine, with the engine's own rights."""

from collections.abc import Iterator, Mapping
from typing import Any

from ops.metadata.engine import Engine
from ops.metadata.pieces import Key

REINSTALL = r"""Install it again:
printf 'X-Hasura-Admin-Secret: %s' \
"$HASURA_ADMIN_SECRET" | curl -H @- \
"$HASURA_URL/v1/metadata" -d \
'{"type": "reload_metadata", "args":
{"recreate_event_triggers": true}}'"""
"""The secret goes through a pipe: arguments are seen by every user of the machine. No line is wrapped by a
screen: a shell would take a part for a call, and the secret for its name."""
ENABLE = 'Enable it again as the owner of the table; psql: ALTER TABLE {} ENABLE TRIGGER "{}"'

MIN_CATALOG = 4
"""Before it, an engine behind a transaction pooler can leave `hasura.user` empty, and each INSERT fails."""


def count_waiting(engine: Engine, source: str) -> int:
    """Count the rows that wait to be processed. Raises MetadataError."""
    return int(engine.run_sql("engine/count_waiting", source)[0][0])


def sql_triggers(pieces: Mapping[Key, Any]) -> Iterator[tuple[str, str]]:
    """Yield table and name of each SQL trigger that the event triggers on our tables need.

    The names are those of `Backends/Postgres/DDL/EventTrigger.hs`.
    """
    for (kind, table), piece in pieces.items():
        for trigger in piece.get("event_triggers", []) if kind == "table" else []:
            for operation in ("insert", "update", "delete"):
                if operation in trigger["definition"]:
                    yield table, f"notify_hasura_{trigger['name']}_{operation.upper()}"
