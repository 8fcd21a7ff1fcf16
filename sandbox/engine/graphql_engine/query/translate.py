"""Translate parts of the older JSON commands to GraphQL."""

import re
from typing import Any

from graphql_engine.catalog import Table
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.metadata.access import Json, find_table, named
from graphql_engine.metadata.dependents import target_of
from graphql_engine.rawjson import dumps

# Name of the GraphQL specification.
NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]*\Z")


def where(expression: Any) -> Any:
    """Translate a boolean expression: `$eq` becomes `_eq`, a bare value an equality."""
    if not isinstance(expression, dict):
        return expression
    translated: Json = {}
    for key, value in expression.items():
        name = f"_{key[1:]}" if key.startswith("$") else key
        if name in ("_and", "_or"):
            translated[name] = [where(each) for each in value]
        elif name == "_not":
            translated[name] = where(value)
        elif name.startswith("_"):
            translated[name] = value
        elif isinstance(value, dict):
            translated[name] = where(value)
        else:
            translated[name] = {"_is_null": True} if value is None else {"_eq": value}
    return translated


def order_by(given: Any) -> list[Json] | None:
    """Translate an order: `"-name"`, `{"column", "type", "nulls"}`, or lists of these."""
    if given is None:
        return None
    items = given if isinstance(given, list) else [given]
    return [_order(item) for item in items]


def _order(item: Any) -> Json:
    if isinstance(item, str):
        direction = "desc" if item.startswith("-") else "asc"
        return _nested(item.lstrip("+-"), direction)
    direction = item.get("type", "asc")
    if item.get("nulls"):
        direction += f"_nulls_{item['nulls']}"
    column = item["column"]
    return _nested(column, direction) if isinstance(column, str) else {}


def _nested(path: str, direction: str) -> Json:
    first, _, rest = path.partition(".")
    return {first: _nested(rest, direction) if rest else direction}


def columns_text(engine: Engine, entry: Json, columns: list[Any], visible: list[str]) -> str:
    """Return a selection set for a list of columns. Raises QErr `not-exists` for an unknown column."""
    parts: list[str] = []
    for index, item in enumerate(columns):
        if item == "*":
            parts += visible
        elif isinstance(item, str):
            parts.append(_checked(item))
        else:
            parts.append(_relationship_text(engine, entry, item, index))
    return " ".join(parts)


def _relationship_text(engine: Engine, entry: Json, item: Json, index: int) -> str:
    name = _checked(item["name"])
    alias = f"{_checked(item['alias'])}: " if item.get("alias") else ""
    remote = _remote(engine, entry, name, f"$.columns[{index}].name")
    key = (remote["table"]["schema"], remote["table"]["name"])
    inner = columns_text(engine, remote, item.get("columns", []), list(engine.catalog.tables[key].columns))
    arguments = []
    if item.get("where"):
        arguments.append(f"where: {literal(where(item['where']))}")
    if item.get("order_by"):
        arguments.append(f"order_by: {literal(order_by(item['order_by']), bare=True)}")
    arguments += [f"{key}: {int(item[key])}" for key in ("limit", "offset") if item.get(key) is not None]
    return f"{alias}{name}{f'({chr(44).join(arguments)})' if arguments else ''} {{ {inner} }}"


def _remote(engine: Engine, entry: Json, name: str, path: str) -> Json:
    for kind in ("object_relationships", "array_relationships"):
        item = named(entry.get(kind, []), name)
        if item is not None:
            own = (entry["table"]["schema"], entry["table"]["name"])
            key = target_of(item, own, engine.catalog)
            if key is not None:
                return find_table(engine.metadata, {"schema": key[0], "name": key[1]})
    raise QErr("not-exists", f'relationship "{name}" does not exist', path)


def literal(value: Any, *, bare: bool = False) -> str:
    """Return a value as a GraphQL literal; with `bare`, strings are enum values."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_checked(k)}: {literal(v, bare=bare)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(literal(each, bare=bare) for each in value) + "]"
    if isinstance(value, str) and bare:
        return _checked(value)
    return dumps(value)


def on_conflict(table: Table, given: Json, objects: list[Json]) -> Json:
    """Return the `on_conflict` argument: a constraint by name or by its columns, and the columns to update.

    Raises QErr `unexpected-payload` for an unknown constraint.
    """
    if "action" not in given:
        raise QErr("parse-failed", 'key "action" not found', "$.on_conflict")
    action = given["action"]
    if action not in ("update", "ignore"):
        raise QErr("parse-failed", f"unexpected action: {action}", "$.on_conflict.action")
    name = given.get("constraint") or _constraint_on(table, given.get("constraint_on"))
    if name is None:
        if action == "update":
            raise QErr(
                "unexpected-payload",
                "Expecting 'constraint' or 'constraint_on' when the 'action' is 'update'",
            )
        name = table.constraints()[0].name
    updated = sorted({column for each in objects for column in each}) if action == "update" else []
    return {"constraint": name, "update_columns": updated}


def _constraint_on(table: Table, columns: Any) -> str | None:
    if not columns:
        return None
    listed = [columns] if isinstance(columns, str) else list(columns)
    for index, column in enumerate(listed):
        if column not in table.columns:
            place = f"$.on_conflict.constraint_on[{index}]"
            raise QErr("not-exists", f'column "{column}" does not exist', place)
    wanted = set(listed)
    return next((c.name for c in table.constraints() if set(c.columns) == wanted), None)


def _checked(name: str) -> str:
    if not isinstance(name, str) or not NAME.match(name):
        raise QErr("not-exists", f'"{name}" does not exist', "$.columns")
    return name
