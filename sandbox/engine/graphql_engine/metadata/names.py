"""Names of metadata objects in the engine's messages."""

from graphql_engine.metadata.access import DEFAULT_SOURCE


def permission_name(kind: str, role: str, table: str, source: str | None = None) -> str:
    return f"{kind}_permission of role {role} in table {table} in source {source or DEFAULT_SOURCE}"
