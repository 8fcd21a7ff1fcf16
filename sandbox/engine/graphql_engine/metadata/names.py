"""Names of metadata objects in the engine's messages."""

from graphql_engine.metadata.access import DEFAULT_SOURCE


def permission_name(kind: str, role: str, table: str, source: str | None = None) -> str:
    """Return the name of a permission among the inconsistent objects."""
    return f"{kind}_permission {role} in table {table} in source {source or DEFAULT_SOURCE}"


def query_name(query: str, collection: str) -> str:
    """Return the name of a stored query among the inconsistent objects."""
    return f"query_collections {query} in {collection}"
