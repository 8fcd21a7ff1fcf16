"""Find what depends on a table or a column: how the engine names it, and how to remove it.

Facts: the engine's `RQL/Types/SchemaCacheTypes` (reportSchemaObj) and its tests of dependency errors.
"""

from collections.abc import Callable, Iterator
from typing import Any

from graphql_engine.catalog import Catalog
from graphql_engine.metadata.access import Json, put_list, qualified, spelled, without

Key = tuple[str, str]
Dependent = tuple[str, Callable[[], None]]
CONNECTIVES = ("and", "or", "not")
RELATIONSHIPS = ("object_relationships", "array_relationships")


def dependents_of_table(metadata: Json, catalog: Catalog | None, key: Key) -> list[Dependent]:
    """Return the relationships of other tables to a table."""
    found = []
    for source, table in _tables(metadata):
        if qualified(table["table"]) == key:
            continue
        for kind in RELATIONSHIPS:
            for item in table.get(kind, []):
                if target_of(item, qualified(table["table"]), catalog) == key:
                    name = f"relationship {spelled(table['table'])}.{item['name']} in source"
                    found.append((f'{name} "{source["name"]}"', _remover(table, kind, item["name"])))
    return found


def target_of(item: Json, own: Key, catalog: Catalog | None) -> Key | None:
    """Return the table that a relationship leads to, if it is known."""
    using = item["using"]
    if "manual_configuration" in using:
        return qualified(using["manual_configuration"]["remote_table"])
    on = using.get("foreign_key_constraint_on")
    if isinstance(on, dict):
        return qualified(on["table"])
    real = catalog.tables.get(own) if catalog else None
    columns = {on} if isinstance(on, str) else set(on or ())
    for key in real.foreign_keys if real else ():
        if set(key.columns) == columns:
            return key.target
    return None


def dependents_of_column(metadata: Json, key: Key, column: str) -> list[Dependent]:
    """Return the permissions, relationships and event triggers that use a column."""
    found: list[Dependent] = []
    for source, table in _tables(metadata):
        name, suffix = spelled(table["table"]), f' in source "{source["name"]}"'
        own = qualified(table["table"]) == key
        for kind in RELATIONSHIPS:
            for item in table.get(kind, []):
                if _relationship_uses(item, own, key, column):
                    text = f"relationship {name}.{item['name']}{suffix}"
                    found.append((text, _remover(table, kind, item["name"])))
        if own:
            found += [(text + suffix, remove) for text, remove in _own_dependents(table, name, column)]
    return found


def _own_dependents(table: Json, name: str, column: str) -> Iterator[Dependent]:
    for kind in ("insert", "select", "update", "delete"):
        for item in table.get(f"{kind}_permissions", []):
            if _permission_uses(item["permission"], column):
                text = f"permission {name}.{item['role']}.{kind}"
                yield text, _remover(table, f"{kind}_permissions", item["role"], "role")
    for trigger in table.get("event_triggers", []):
        if any(_spec_uses(trigger["definition"].get(op), column) for op in ("insert", "update", "delete")):
            yield (
                f"event-trigger {name}.{trigger['name']}",
                _remover(table, "event_triggers", trigger["name"]),
            )


def _relationship_uses(item: Json, own: bool, key: Key, column: str) -> bool:
    using = item["using"]
    manual = using.get("manual_configuration")
    if manual is not None:
        remote = qualified(manual["remote_table"]) == key and column in manual["column_mapping"].values()
        return remote or (own and column in manual["column_mapping"])
    on: Any = using.get("foreign_key_constraint_on")
    if isinstance(on, dict):
        columns = [on["column"]] if "column" in on else on["columns"]
        return qualified(on["table"]) == key and column in columns
    return own and column in ([on] if isinstance(on, str) else on)


def _permission_uses(permission: Json, column: str) -> bool:
    columns = permission.get("columns")
    if isinstance(columns, list) and column in columns:
        return True
    if column in (permission.get("set") or {}):
        return True
    return any(_mentions(permission.get(key), column) for key in ("filter", "check"))


def _mentions(expression: Any, column: str) -> bool:
    if isinstance(expression, dict):
        return any(
            key == column
            or (key in ("_and", "_or", "_not", "$and", "$or", "$not") and _mentions(value, column))
            for key, value in expression.items()
        )
    return isinstance(expression, list) and any(_mentions(each, column) for each in expression)


def permissions_comparing(metadata: Json, key: Key, column: str) -> list[str]:
    """Return the permissions of a table that compare a column with a constant."""
    found = []
    for source, table in _tables(metadata):
        if qualified(table["table"]) != key:
            continue
        for kind in ("insert", "select", "update", "delete"):
            for item in table.get(f"{kind}_permissions", []):
                if any(_compares(item["permission"].get(part), column) for part in ("filter", "check")):
                    text = f"permission {spelled(table['table'])}.{item['role']}.{kind}"
                    found.append(f'{text} in source "{source["name"]}"')
    return found


def _compares(expression: Any, column: str) -> bool:
    if isinstance(expression, list):
        return any(_compares(each, column) for each in expression)
    if not isinstance(expression, dict):
        return False
    if column in expression:
        value = expression[column]
        values = value.values() if isinstance(value, dict) else [value]
        return any(not (isinstance(v, str) and v.lower().startswith("x-hasura-")) for v in values)
    return any(
        _compares(value, column) for key, value in expression.items() if key.lstrip("$_") in CONNECTIVES
    )


def _spec_uses(spec: Json | None, column: str) -> bool:
    lists = [(spec or {}).get(key) for key in ("columns", "payload")]
    return any(isinstance(columns, list) and column in columns for columns in lists)


def _remover(table: Json, kind: str, name: str, key: str = "name") -> Callable[[], None]:
    def remove() -> None:
        put_list(table, kind, without(table.get(kind, []), name, key))

    return remove


def _tables(metadata: Json) -> Iterator[tuple[Json, Json]]:
    for source in metadata["sources"]:
        for table in source["tables"]:
            yield source, table
