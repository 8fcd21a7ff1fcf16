"""Find what is wrong with a permission: columns, operators, values and tables that do not fit.

Facts: recorded answers of a genuine engine of v2.48.10. It checks the JSON kind of values, not their text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphql_engine.catalog import Catalog, Key, Table
from graphql_engine.metadata.access import Json, qualified, spelled
from graphql_engine.rawjson import kind_of

LISTS = {"_and", "_or", "$and", "$or"}
COLUMN_OPERATORS = {"eq", "neq", "ne", "gt", "lt", "gte", "lte"}
OPERATORS = COLUMN_OPERATORS | {
    "in", "nin", "is_null", "like", "nlike", "ilike", "nilike", "similar", "nsimilar", "regex", "nregex",
    "iregex", "niregex", "contains", "contained_in", "has_key", "has_keys_any", "has_keys_all", "cast",
    "ancestor", "ancestor_any", "descendant", "descendant_any", "matches", "matches_any", "matches_fulltext",
    "st_contains", "st_crosses", "st_d_within", "st_equals", "st_intersects", "st_3d_intersects",
    "st_overlaps", "st_touches", "st_within", "st_3d_d_within", "st_intersects_rast",
    "st_intersects_nband_geom", "st_intersects_geom_nband",
}  # fmt: skip
# Types whose values are JSON strings, with their name in messages.
TEXTS = {"uuid": "UUID", "text": "Text"}


@dataclass(frozen=True)
class Checker:
    """Checks the permissions of one source."""

    source: Json
    catalog: Catalog

    def problem(self, table: Json, real: Table, permission: Json) -> str | None:
        """Return the reason why a permission does not fit, or None."""
        return next(self._problems(table, real, permission), None)

    def _problems(self, table: Json, real: Table, permission: Json) -> Iterator[str]:
        columns, presets = permission.get("columns"), permission.get("set") or {}
        named = [column for column in columns if isinstance(column, str)] if isinstance(columns, list) else []
        for column in [*named, *presets]:
            if column not in real.columns:
                yield f'column "{column}" does not exist'
        for column, value in presets.items():
            yield from _kind(real, column, value)
        limit = permission.get("limit")
        if isinstance(limit, int) and limit < 0:
            yield "unexpected negative value"
        for key in ("filter", "check"):
            yield from self._expression(table, real, permission.get(key) or {})

    def _expression(self, table: Json, real: Table, expression: Any) -> Iterator[str]:
        for key, value in expression.items() if isinstance(expression, dict) else ():
            if key in LISTS:
                for each in value if isinstance(value, list) else ():
                    yield from self._expression(table, real, each)
            elif key in ("_not", "$not"):
                yield from self._expression(table, real, value)
            elif key in ("_exists", "$exists"):
                yield from self._exists(value)
            elif key in real.columns:
                yield from self._column(real, key, value)
            else:
                yield from self._field(table, real, key, value)

    def _exists(self, value: Json) -> Iterator[str]:
        key = qualified(value["_table"])
        yield from self._other(
            key, value.get("_where") or {}, f'table "{spelled(value["_table"])}" does not exist'
        )

    def _other(self, key: Key, expression: Json, missing: str | None) -> Iterator[str]:
        """Check an expression on another table; `missing` is the reason if that is not tracked."""
        real = self.catalog.tables.get(key)
        entry = next((t for t in self.source["tables"] if qualified(t["table"]) == key), None)
        if real is not None and entry is not None:
            yield from self._expression(entry, real, expression)
        elif missing is not None:
            yield missing

    def _field(self, table: Json, real: Table, name: str, value: Any) -> Iterator[str]:
        for kind in ("object_relationships", "array_relationships"):
            for item in table.get(kind, []):
                if item["name"] == name:
                    target = target_of(real, item["using"])
                    if target is not None:
                        yield from self._other(target, value, None)
                    return
        if not any(item["name"] == name for item in table.get("computed_fields", [])):
            yield f'"{name}" does not exist'

    def _column(self, real: Table, column: str, value: Any) -> Iterator[str]:
        if not isinstance(value, dict):
            yield from _kind(real, column, value)
            return
        for operator, operand in value.items():
            name = operator.removeprefix("_").removeprefix("$")
            if name in OPERATORS and operator != name:
                if name in COLUMN_OPERATORS:
                    yield from _kind(real, column, operand)
            elif name.removeprefix("c") in COLUMN_OPERATORS and operator != name:
                yield from _compared(real, column, operand)
            else:
                yield f"Unknown operator: {operator}"


def target_of(real: Table, using: Json) -> Key | None:
    """Return the table that a relationship leads to, None if it follows a missing foreign key."""
    if "manual_configuration" in using:
        return qualified(using["manual_configuration"]["remote_table"])
    on = using.get("foreign_key_constraint_on")
    if isinstance(on, dict):
        return qualified(on["table"])
    columns = {on} if isinstance(on, str) else set(on or ())
    return next((key.target for key in real.foreign_keys if set(key.columns) == columns), None)


def _kind(real: Table, column: str, value: Any) -> Iterator[str]:
    name = TEXTS.get(real.columns[column].type.internal) if column in real.columns else None
    if name is not None and value is not None and not isinstance(value, str):
        yield f"parsing {name} failed, expected String, but encountered {kind_of(value)}"


def _compared(real: Table, column: str, other: Any) -> Iterator[str]:
    if not isinstance(other, str) or other not in real.columns:
        return
    left, right = real.columns[column].type, real.columns[other].type
    if left.internal != right.internal:
        yield (
            f'incompatible column types: "{column}" has type "{left.name}",'
            f' but "{other}" has type "{right.name}"'
        )
