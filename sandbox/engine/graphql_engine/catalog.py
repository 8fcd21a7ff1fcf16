"""The structure of a database: its tables and types, read from PostgreSQL's catalog.

The GraphQL schema is built from this and from the metadata. Every identifier and type name in a statement
comes from here, never from a request. Facts: the engine's `pg_table_metadata.sql`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

COLUMNS = """
SELECT n.nspname AS schema, c.relname AS "table", c.relkind::text AS relkind,
       pg_relation_is_updatable(c.oid, true) AS events,
       a.attname AS name, NOT a.attnotnull AS nullable,
       a.attgenerated <> '' AS generated, a.attidentity::text AS identity,
       CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END::int8 AS type
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'hdb_catalog') AND n.nspname !~ '^pg_t'
ORDER BY n.nspname, c.relname, a.attnum
"""

CONSTRAINTS = """
SELECT n.nspname AS schema, c.relname AS "table", k.conname AS name, k.contype::text AS kind,
       (SELECT array_agg(a.attname::text ORDER BY u.i) FROM unnest(k.conkey) WITH ORDINALITY u (n, i)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n) AS columns,
       fn.nspname AS target_schema, fc.relname AS target_table,
       (SELECT array_agg(a.attname::text ORDER BY u.i) FROM unnest(k.confkey) WITH ORDINALITY u (n, i)
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n) AS target_columns
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class fc ON fc.oid = k.confrelid LEFT JOIN pg_namespace fn ON fn.oid = fc.relnamespace
WHERE k.contype IN ('p', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'hdb_catalog')
ORDER BY k.conname
"""

TYPES = """
SELECT t.oid::int8 AS oid, format_type(t.oid, -1) AS name, t.typname AS internal, t.typtype::text AS kind,
       CASE WHEN t.typcategory = 'A' THEN t.typelem::int8 END AS element
FROM pg_type t
"""


Key = tuple[str, str]
"""Schema and name of a table."""


def key_of(reference: str | Mapping[str, str]) -> Key:
    """Return the key of a table or function that the metadata name, in any spelling."""
    if isinstance(reference, str):
        return "public", reference
    return reference.get("schema") or "public", reference["name"]


def spelled(reference: str | Mapping[str, str] | Key) -> str:
    """Return the name of a table or function in messages: without the schema if that is `public`."""
    schema, name = reference if isinstance(reference, tuple) else key_of(reference)
    return name if schema == "public" else f"{schema}.{name}"


@dataclass(frozen=True)
class Type:
    """A PostgreSQL type. name: as in a cast; internal: `pg_type.typname`; kind: `typtype` (e = enum)."""

    name: str
    internal: str
    kind: str = "b"
    element: "Type | None" = None


@dataclass(frozen=True)
class Column:
    """A column. A domain is represented by its base type, as the engine does."""

    name: str
    type: Type
    nullable: bool
    generated: bool
    always_identity: bool


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key: `columns[i]` references `target_columns[i]`."""

    name: str
    columns: tuple[str, ...]
    target: Key
    target_columns: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    schema: str
    name: str
    columns: dict[str, Column]
    primary_key: tuple[str, ...] | None = None
    foreign_keys: tuple[ForeignKey, ...] = ()
    insertable: bool = True
    updatable: bool = True
    deletable: bool = True

    @property
    def key(self) -> Key:
        return (self.schema, self.name)


@dataclass(frozen=True)
class Catalog:
    """All tables outside the schemas of PostgreSQL and Hasura."""

    tables: dict[Key, Table] = field(default_factory=dict)


# Bits of pg_relation_is_updatable().
INSERT_EVENT, UPDATE_EVENT, DELETE_EVENT = 8, 4, 16
Row = dict[str, Any]


async def load_catalog(conn: AsyncConnection[Any]) -> Catalog:
    """Read the catalog in three statements."""
    async with conn.cursor(row_factory=dict_row) as cur:
        types = await _rows(cur, TYPES)
        columns = await _rows(cur, COLUMNS)
        constraints = await _rows(cur, CONSTRAINTS)
    return Catalog(_tables(columns, constraints, _types(types)))


async def _rows(cur: Any, statement: str) -> list[Row]:
    await cur.execute(statement)
    rows: list[Row] = await cur.fetchall()
    return rows


def _types(rows: list[Row]) -> dict[int, Type]:
    plain = {row["oid"]: Type(row["name"], row["internal"], row["kind"]) for row in rows}
    for row in rows:
        if row["element"] in plain and row["internal"].startswith("_"):
            plain[row["oid"]] = Type(row["name"], row["internal"], row["kind"], plain[row["element"]])
    return plain


def _tables(columns: list[Row], constraints: list[Row], types: dict[int, Type]) -> dict[Key, Table]:
    tables: dict[Key, Table] = {}
    keys = _constraints(constraints)
    for row in columns:
        key = (row["schema"], row["table"])
        if key not in tables:
            events = row["events"] or 0
            tables[key] = Table(
                *key,
                columns={},
                insertable=bool(events & INSERT_EVENT),
                updatable=bool(events & UPDATE_EVENT),
                deletable=bool(events & DELETE_EVENT),
                **keys.get(key, {}),
            )
        if row["name"] is not None:
            tables[key].columns[row["name"]] = _column(row, types)
    return tables


def _column(row: Row, types: dict[int, Type]) -> Column:
    return Column(
        name=row["name"],
        type=types[row["type"]],
        nullable=row["nullable"],
        generated=row["generated"],
        always_identity=row["identity"] == "a",
    )


def _constraints(rows: list[Row]) -> dict[Key, Row]:
    found: dict[Key, Row] = {}
    for row in rows:
        entry = found.setdefault((row["schema"], row["table"]), {"foreign_keys": ()})
        columns = tuple(row["columns"] or ())
        if row["kind"] == "p":
            entry["primary_key"] = columns
        else:
            target = (row["target_schema"], row["target_table"])
            entry["foreign_keys"] += (ForeignKey(row["name"], columns, target, tuple(row["target_columns"])),)
    return found
