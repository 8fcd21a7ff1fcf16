"""Look up objects in the metadata, with the engine's errors, names and defaults."""

from collections.abc import Mapping
from typing import Any

from graphql_engine.catalog import key_of, spelled
from graphql_engine.errors import QErr, not_exists
from graphql_engine.rawjson import kind_of

Json = dict[str, Any]
DEFAULT_SOURCE = "default"
DEFAULT_CRON_RETRY = {
    "num_retries": 0,
    "retry_interval_seconds": 10,
    "timeout_seconds": 60,
    "tolerance_seconds": 21600,
}


def table_object(name: str | Mapping[str, str]) -> Json:
    """Return the spelling that the engine exports."""
    schema, plain = key_of(name)
    return {"name": plain, "schema": schema}


def find_source(metadata: Json, name: str | None = None) -> Json:
    """Return a source. Raises QErr `not-exists`."""
    wanted = name or DEFAULT_SOURCE
    for source in metadata["sources"]:
        if source["name"] == wanted:
            return dict_of(source)
    raise not_exists(f'source with name "{wanted}" does not exist')


def find_table(metadata: Json, name: str | Mapping[str, str], source: str | None = None) -> Json:
    """Return the entry of a tracked table. Raises QErr `not-exists`."""
    for table in find_source(metadata, source)["tables"]:
        if key_of(table["table"]) == key_of(name):
            return dict_of(table)
    raise not_exists(f'table "{spelled(name)}" does not exist in source: {source or DEFAULT_SOURCE}')


def find_event_trigger(metadata: Json, name: str, source: str | None = None) -> tuple[Json, Json]:
    """Return (table entry, event trigger). Raises QErr `not-exists`."""
    for table in find_source(metadata, source)["tables"]:
        for trigger in table.get("event_triggers", []):
            if trigger["name"] == name:
                return table, trigger
    raise not_exists(f'event trigger "{name}" does not exist')


def named(items: list[Json], name: str, key: str = "name") -> Json | None:
    return next((item for item in items if item[key] == name), None)


def without(items: list[Json], name: str, key: str = "name") -> list[Json]:
    return [item for item in items if item[key] != name]


def put_list(owner: Json, key: str, items: list[Json]) -> None:
    """Set a list, or remove the key if the list is empty, as exports do."""
    if items:
        owner[key] = items
    else:
        owner.pop(key, None)


def dict_of(value: Any) -> Json:
    """Return the value if it is an object. Raises QErr `parse-failed`."""
    if not isinstance(value, dict):
        raise QErr("parse-failed", f"expected Object, but encountered {kind_of(value)}")
    return value


def mismatch(name: str, wanted: str, value: Any, path: str = "$") -> QErr:
    """Return the error for a JSON value of the wrong kind, where the type `name` is expected."""
    return QErr(
        "parse-failed", f"parsing {name} failed, expected {wanted}, but encountered {kind_of(value)}", path
    )


def required(args: Json, key: str) -> Any:
    """Return a required argument. Raises QErr `parse-failed`."""
    if key not in args:
        raise QErr("parse-failed", f'key "{key}" not found')
    return args[key]


def check_headers(headers: Any, path: str) -> None:
    """Raise QErr `parse-failed` for a header without value, with two, or with an engine's own variable."""
    for index, header in enumerate(headers or []):
        given = [key for key in ("value", "value_from_env") if header.get(key) is not None]
        if len(given) != 1:
            keys = "only one of value or value_from_env keys" if given else "value or value_from_env keys"
            raise QErr("parse-failed", f"expecting {keys}", f"{path}[{index}]")
        if str(header.get("value_from_env", "")).startswith("HASURA_GRAPHQL_"):
            raise QErr(
                "parse-failed",
                'env variables start with "HASURA_GRAPHQL_" are not allowed for value_from_env',
                f"{path}[{index}]",
            )


def permission_name(kind: str, role: str, table: str, source: str | None = None) -> str:
    """Return the name of a permission among the inconsistent objects."""
    return f"{kind}_permission {role} in table {table} in source {source or DEFAULT_SOURCE}"


def query_name(query: str, collection: str) -> str:
    """Return the name of a stored query among the inconsistent objects."""
    return f"query_collections {query} in {collection}"


def inconsistent(kind: str, name: str, definition: Any, reason: str) -> Json:
    return {"definition": definition, "name": name, "reason": f"Inconsistent object: {reason}", "type": kind}


def source_url(source: Json, environment: Mapping[str, str]) -> str | None:
    """Return the URL of a source, or None if its variable is not set."""
    url = source["configuration"]["connection_info"]["database_url"]
    return environment.get(url["from_env"]) if isinstance(url, dict) else str(url)


def default_source() -> Json:
    """Return the source of an engine that was started with a database URL and without metadata."""
    return {
        "name": "default",
        "kind": "postgres",
        "tables": [],
        "configuration": {
            "connection_info": {
                "database_url": {"from_env": "HASURA_GRAPHQL_DATABASE_URL"},
                "isolation_level": "read-committed",
                "pool_settings": {
                    "connection_lifetime": 600,
                    "idle_timeout": 180,
                    "max_connections": 50,
                    "retries": 1,
                },
                "use_prepared_statements": True,
            }
        },
    }
