"""Find what DDL did to the tracked tables, and what of the metadata depends on it.

Tables are identified by oid, so that a renamed table is not taken for a dropped one: Hasura follows renames,
this stand-in refuses them. Facts: the engine's `RQL/Types/SchemaCacheTypes` (reportSchemaObj) and its tests.
"""

from psycopg import AsyncConnection

from graphql_engine.errors import QErr, unsupported
from graphql_engine.metadata.access import Json, qualified, spelled
from graphql_engine.metadata.drop_inconsistent import drop_inconsistent

Oids = dict[int, tuple[str, str]]


async def tracked_oids(connection: AsyncConnection, metadata: Json) -> Oids:
    """Return (schema, name) of the tracked tables that exist, by oid."""
    keys = [qualified(table["table"]) for source in metadata["sources"] for table in source["tables"]]
    cursor = await connection.execute(
        "SELECT c.oid::int8, n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n"
        " ON n.oid = c.relnamespace WHERE (n.nspname || '.' || c.relname) = ANY(%s)",
        [[".".join(key) for key in keys]],
    )
    return {oid: (schema, name) for oid, schema, name in await cursor.fetchall()}


async def remove_dropped(connection: AsyncConnection, metadata: Json, before: Oids) -> None:
    """Remove the tables that are gone since `before`. Raises QErr `not-supported` for a renamed one."""
    cursor = await connection.execute(
        "SELECT c.oid::int8, n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n"
        " ON n.oid = c.relnamespace WHERE c.oid = ANY(%s::int8[])",
        [list(before)],
    )
    after = {oid: (schema, name) for oid, schema, name in await cursor.fetchall()}
    for oid, key in after.items():
        if key != before[oid]:
            raise unsupported(f'renaming the tracked table "{before[oid][1]}"')
    gone = {key for oid, key in before.items() if oid not in after}
    for source in metadata["sources"]:
        source["tables"] = [table for table in source["tables"] if qualified(table["table"]) not in gone]


def drop_dependents(metadata: Json, new: list[Json], *, cascade: bool) -> bool:
    """Remove the new inconsistent objects that used what was dropped; return whether there were any.

    Raises QErr `dependency-error` that names them if `cascade` is not set.
    """
    dependents = {text: each for each in new if (text := _dependent(each)) is not None}
    if dependents and not cascade:
        message = f"cannot drop due to the following dependent objects: {', '.join(dependents)}"
        raise QErr("dependency-error", message)
    drop_inconsistent(metadata, list(dependents.values()))
    return bool(dependents)


def _dependent(found: Json) -> str | None:
    """Return how the engine names a part of a table as a dependent, None for other objects."""
    kind, definition = found.get("type", ""), found.get("definition") or {}
    if kind.endswith("_relation"):
        name = f"relationship {spelled(definition['table'])}.{definition['name']}"
    elif kind.endswith("_permission"):
        operation = kind.removesuffix("_permission")
        name = f"permission {spelled(definition['table'])}.{definition['role']}.{operation}"
    elif kind == "event_trigger":
        name = f"event-trigger {spelled(definition['table'])}.{definition['configuration']['name']}"
    else:
        return None
    return f'{name} in source "{found["name"].rpartition(" ")[2]}"'
