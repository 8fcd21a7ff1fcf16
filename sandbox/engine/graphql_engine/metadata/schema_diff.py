"""Find what DDL did to the tracked tables, and make the same change in the metadata.

Tables are identified by oid and columns by number, so that a rename is seen as a rename.
"""

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from graphql_engine.errors import QErr
from graphql_engine.metadata.access import Json, qualified, spelled, table_object
from graphql_engine.metadata.dependents import (
    Dependent,
    dependents_of_column,
    dependents_of_table,
    permissions_comparing,
)

Key = tuple[str, str]


@dataclass(frozen=True)
class Shape:
    """The name of a table, and its columns by number."""

    key: Key
    columns: dict[int, str]
    types: dict[int, str]


async def snapshot(
    connection: AsyncConnection, metadata: Json, oids: list[int] | None = None
) -> dict[int, Shape]:
    """Return the tracked tables, or those with the given oids, by oid."""
    keys = [qualified(table["table"]) for source in metadata["sources"] for table in source["tables"]]
    cursor = await connection.execute(
        "SELECT c.oid::int8, n.nspname, c.relname,"
        " coalesce(jsonb_object_agg(a.attnum, a.attname) FILTER (WHERE a.attnum > 0), '{}'),"
        " coalesce(jsonb_object_agg(a.attnum, a.atttypid::int8) FILTER (WHERE a.attnum > 0), '{}')"
        " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE CASE WHEN %(oids)s::int8[] IS NULL"
        " THEN (n.nspname || '.' || c.relname) = ANY(%(names)s) ELSE c.oid = ANY(%(oids)s::int8[]) END"
        " GROUP BY c.oid, n.nspname, c.relname",
        {"oids": oids, "names": [".".join(key) for key in keys]},
    )
    return {
        oid: Shape((schema, name), _numbered(columns), _numbered(types))
        for oid, schema, name, columns, types in await cursor.fetchall()
    }


def _numbered(values: dict[str, Any]) -> dict[int, str]:
    return {int(number): str(value) for number, value in values.items()}


def apply_schema_changes(
    metadata: Json, before: dict[int, Shape], after: dict[int, Shape], *, cascade: bool
) -> None:
    """Change the metadata as the tables were changed.

    Raises QErr `dependency-error` if another object depends on a dropped one and `cascade` is not set.
    """
    dropped = [shape.key for oid, shape in before.items() if oid not in after]
    dependents: list[Dependent] = []
    for key in dropped:
        dependents += [d for d in dependents_of_table(metadata, None, key) if d not in dependents]
    for oid, shape in after.items():
        gone = set(before[oid].columns) - set(shape.columns)
        for number in gone:
            dependents += dependents_of_column(metadata, before[oid].key, before[oid].columns[number])
        _check_types(metadata, before[oid], shape)
    if dependents and not cascade:
        listed = ", ".join(dict.fromkeys(text for text, _ in dependents))
        raise QErr("dependency-error", f"cannot drop due to the following dependent objects: {listed}")
    for _, remove in dependents:
        remove()
    for source in metadata["sources"]:
        source["tables"] = [t for t in source["tables"] if qualified(t["table"]) not in dropped]
    for oid, shape in after.items():
        _rename_configured(metadata, before[oid], shape)
        _rename_columns(metadata, before[oid], shape)
        if before[oid].key != shape.key:
            _rename_table(metadata, before[oid].key, shape.key)


def _check_types(metadata: Json, old: Shape, new: Shape) -> None:
    """Raise QErr if a column that permissions compare with a constant changed its type."""
    for number, name in old.columns.items():
        if number not in new.types or new.types[number] == old.types[number]:
            continue
        found = permissions_comparing(metadata, old.key, name)
        if found:
            table = spelled({"schema": old.key[0], "name": old.key[1]})
            raise QErr(
                "dependency-error",
                f'cannot change type of column "{name}" in table "{table}" because of the following'
                f" dependencies: {', '.join(found)}",
            )


def _rename_table(metadata: Any, old: Key, new: Key) -> None:
    """Rename every reference to a table below the sources."""
    for source in metadata["sources"]:
        for table in source["tables"]:
            if qualified(table["table"]) == old:
                table["table"] = table_object({"schema": new[0], "name": new[1]})
            for kind in ("object_relationships", "array_relationships"):
                for item in table.get(kind, []):
                    _rename_target(item["using"], old, new)


def _rename_target(using: Json, old: Key, new: Key) -> None:
    renamed = table_object({"schema": new[0], "name": new[1]})
    manual, on = using.get("manual_configuration"), using.get("foreign_key_constraint_on")
    if manual and qualified(manual["remote_table"]) == old:
        manual["remote_table"] = renamed
    if isinstance(on, dict) and qualified(on["table"]) == old:
        on["table"] = renamed


def _rename_columns(metadata: Json, old: Shape, new: Shape) -> None:
    names = {
        old.columns[number]: new.columns[number]
        for number in old.columns
        if number in new.columns and old.columns[number] != new.columns[number]
    }
    if not names:
        return
    for source in metadata["sources"]:
        for table in source["tables"]:
            own = qualified(table["table"]) == old.key
            for kind in ("object_relationships", "array_relationships"):
                for item in table.get(kind, []):
                    _rename_in_relationship(item["using"], names, own=own, key=old.key)
            if own:
                _rename_in_permissions(table, names)
                _rename_in_triggers(table, names)


def _rename_configured(metadata: Json, old: Shape, new: Shape) -> None:
    """Rename custom names and other column settings, and remove those of dropped columns."""
    names = {name: new.columns.get(number) for number, name in old.columns.items()}
    for source in metadata["sources"]:
        for table in source["tables"]:
            configuration = table.get("configuration")
            if not configuration or qualified(table["table"]) != old.key:
                continue
            for kind in ("custom_column_names", "column_config"):
                if kind in configuration:
                    found = {names.get(name, name): value for name, value in configuration[kind].items()}
                    configuration[kind] = {name: value for name, value in found.items() if name is not None}


def _rename_in_relationship(using: Json, names: dict[str, str], *, own: bool, key: Key) -> None:
    manual, on = using.get("manual_configuration"), using.get("foreign_key_constraint_on")
    if manual:
        remote = qualified(manual["remote_table"]) == key
        manual["column_mapping"] = {
            names.get(a, a) if own else a: names.get(b, b) if remote else b
            for a, b in manual["column_mapping"].items()
        }
    elif isinstance(on, dict) and qualified(on["table"]) == key:
        if "column" in on:
            on["column"] = names.get(on["column"], on["column"])
        else:
            on["columns"] = [names.get(each, each) for each in on["columns"]]
    elif own and isinstance(on, str):
        using["foreign_key_constraint_on"] = names.get(on, on)
    elif own and isinstance(on, list):
        using["foreign_key_constraint_on"] = [names.get(each, each) for each in on]


def _rename_in_permissions(table: Json, names: dict[str, str]) -> None:
    for kind in ("insert", "select", "update", "delete"):
        for item in table.get(f"{kind}_permissions", []):
            permission = item["permission"]
            if isinstance(permission.get("columns"), list):
                permission["columns"] = [names.get(each, each) for each in permission["columns"]]
            for key in ("filter", "check", "set"):
                if isinstance(permission.get(key), dict):
                    permission[key] = _renamed_keys(permission[key], names)


def _renamed_keys(expression: Any, names: dict[str, str]) -> Any:
    """Rename keys at the level of the table's own columns; look into logical operators only."""
    if isinstance(expression, list):
        return [_renamed_keys(each, names) for each in expression]
    if not isinstance(expression, dict):
        return expression
    return {
        names.get(key, key): _renamed_keys(value, names) if key in ("_and", "_or", "_not") else value
        for key, value in expression.items()
    }


def _rename_in_triggers(table: Json, names: dict[str, str]) -> None:
    for trigger in table.get("event_triggers", []):
        for operation in ("insert", "update", "delete"):
            spec = trigger["definition"].get(operation) or {}
            for key in ("columns", "payload"):
                if isinstance(spec.get(key), list):
                    spec[key] = [names.get(each, each) for each in spec[key]]
