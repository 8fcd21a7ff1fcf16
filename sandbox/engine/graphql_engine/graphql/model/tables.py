"""Tracked tables: the entries of the metadata joined with PostgreSQL's catalog."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from graphql_engine.catalog import Catalog, Column, ForeignKey, Key, Table
from graphql_engine.graphql.model.names import is_graphql_name

Json = dict[str, Any]


@dataclass(frozen=True)
class Relationship:
    """A relationship. mapping: (own column, remote column) pairs; after_parent: inserted after the row."""

    name: str
    is_array: bool
    target: Key
    mapping: tuple[tuple[str, str], ...]
    after_parent: bool = False
    comment: str | None = None


@dataclass
class TrackedTable:
    """A tracked table with everything the metadata says about it.

    gql_columns: by GraphQL name; computed_fields: names, which are refused when they are used.
    """

    table: Table
    entry: Json
    name: str
    gql_columns: dict[str, Column] = field(default_factory=dict)
    relationships: dict[str, Relationship] = field(default_factory=dict)
    computed_fields: frozenset[str] = frozenset()

    def root_field(self, kind: str, default: str) -> tuple[str, str | None]:
        """Return name and comment of a root field, with `custom_root_fields` applied."""
        custom = (configuration(self.entry).get("custom_root_fields") or {}).get(kind)
        if isinstance(custom, dict):
            return custom.get("name") or default, custom.get("comment")
        return custom or default, None

    def has_relationship(self, name: str) -> bool:
        """Whether the metadata define a relationship, also one that does not fit the database."""
        kinds = ("object_relationships", "array_relationships")
        return any(item["name"] == name for kind in kinds for item in self.entry.get(kind) or [])

    def column_comment(self, column: Column) -> str | None:
        """Return the metadata's comment on a column ("" means no comment), else the database's."""
        config = (configuration(self.entry).get("column_config") or {}).get(column.name) or {}
        return described(config.get("comment"), column.comment)


@dataclass
class Model:
    """All tracked tables by (schema, name)."""

    tables: dict[Key, TrackedTable]


def described(explicit: str | None, default: str | None) -> str | None:
    """Return the metadata's description, where "" means none, else the default."""
    return default if explicit is None else explicit or None


def configuration(entry: Json) -> Json:
    """Return the `configuration` of a table entry, or an empty one."""
    return entry.get("configuration") or {}


def key_of(reference: Any) -> Key:
    """Return (schema, name) of a table or function reference of the metadata."""
    if isinstance(reference, str):
        return ("public", reference)
    return (reference.get("schema") or "public", reference["name"])


def entries(metadata: Json, kind: str) -> Iterator[Json]:
    """Return the entries of `tables` or `functions` of every PostgreSQL source."""
    for source in metadata.get("sources", []):
        if source.get("kind", "postgres") in ("postgres", "pg"):
            yield from source.get(kind) or []


def build_model(metadata: Json, catalog: Catalog) -> Model:
    """Join metadata and catalog. Objects that the database lacks are left out: they are inconsistent."""
    tables: dict[Key, TrackedTable] = {}
    for entry in entries(metadata, "tables"):
        table = catalog.tables.get(key_of(entry["table"]))
        tracked = None if table is None else _tracked(table, entry)
        if table is not None and tracked is not None and is_graphql_name(tracked.name):
            tables[table.key] = tracked
    for tracked in tables.values():
        _add_relationships(tracked, tables)
    return Model(tables)


def _tracked(table: Table, entry: Json) -> TrackedTable:
    custom = configuration(entry)
    default = table.name if table.schema == "public" else f"{table.schema}_{table.name}"
    tracked = TrackedTable(table, entry, custom.get("custom_name") or default)
    tracked.computed_fields = frozenset(item["name"] for item in entry.get("computed_fields") or [])
    renamed = dict(custom.get("custom_column_names") or {})
    for name, config in (custom.get("column_config") or {}).items():
        if config.get("custom_name"):
            renamed[name] = config["custom_name"]
    for name, column in table.columns.items():
        gql = renamed.get(name, name)
        if is_graphql_name(gql):
            tracked.gql_columns[gql] = column
    return tracked


def _add_relationships(tracked: TrackedTable, tables: dict[Key, TrackedTable]) -> None:
    for is_array, kind in ((False, "object_relationships"), (True, "array_relationships")):
        for item in tracked.entry.get(kind) or []:
            found = relationship(tracked.table, item, is_array, tables)
            if found is not None and found.target in tables and is_graphql_name(found.name):
                tracked.relationships[found.name] = found


def relationship(
    table: Table, item: Json, is_array: bool, tables: dict[Key, TrackedTable]
) -> Relationship | None:
    """Return the relationship that a metadata item describes, or None if no foreign key fits."""
    using = item["using"]
    manual = using.get("manual_configuration")
    if manual is not None:
        mapping = tuple(manual["column_mapping"].items())
        after = manual.get("insertion_order") == "after_parent"
        target = key_of(manual["remote_table"])
        return Relationship(item["name"], is_array, target, mapping, after, item.get("comment"))
    on = using["foreign_key_constraint_on"]
    if isinstance(on, dict):
        return _reverse(table, item, is_array, on, tables)
    key = _foreign_key(table, [on] if isinstance(on, str) else on)
    if key is None:
        return None
    mapping = tuple(zip(key.columns, key.target_columns, strict=True))
    return Relationship(item["name"], is_array, key.target, mapping, False, item.get("comment"))


def _reverse(
    table: Table, item: Json, is_array: bool, on: Json, tables: dict[Key, TrackedTable]
) -> Relationship | None:
    remote = tables.get(key_of(on["table"]))
    columns = [on["column"]] if "column" in on else list(on["columns"])
    key = _foreign_key(remote.table, columns, table.key) if remote else None
    if remote is None or key is None:
        return None
    mapping = tuple(zip(key.target_columns, key.columns, strict=True))
    return Relationship(item["name"], is_array, remote.table.key, mapping, True, item.get("comment"))


def _foreign_key(table: Table, columns: list[str], target: Key | None = None) -> ForeignKey | None:
    for key in table.foreign_keys:
        if set(key.columns) == set(columns) and target in (None, key.target):
            return key
    return None
