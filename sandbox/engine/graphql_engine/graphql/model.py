"""The database as GraphQL sees it: tracked tables, conditions over rows, and what each role may do.

Conditions have the form of a client's `where` and of permissions. The role `admin` sees everything.
Facts: the engine's `RQL/DDL/Permission`, its `Internal`, `Postgres/DDL/BoolExp` and `Translate/BoolExp`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from graphql_engine.catalog import Catalog, Column, ForeignKey, Key, Table, Type, key_of
from graphql_engine.graphql.scalars import is_graphql_name
from graphql_engine.rawjson import kind_of

Json = dict[str, Any]


@dataclass(frozen=True)
class Relationship:
    """A relationship. mapping: (own column, remote column) pairs."""

    name: str
    is_array: bool
    target: Key
    mapping: tuple[tuple[str, str], ...]


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

    def root_field(self, kind: str, default: str) -> str:
        """Return the name of a root field, with `custom_root_fields` applied."""
        custom = (configuration(self.entry).get("custom_root_fields") or {}).get(kind)
        if isinstance(custom, dict):
            return str(custom.get("name") or default)
        return str(custom or default)

    def has_relationship(self, name: str) -> bool:
        """Whether the metadata define a relationship, also one that does not fit the database."""
        kinds = ("object_relationships", "array_relationships")
        return any(item["name"] == name for kind in kinds for item in self.entry.get(kind) or [])


@dataclass
class Model:
    """All tracked tables by (schema, name)."""

    tables: dict[Key, TrackedTable]


def configuration(entry: Json) -> Json:
    return entry.get("configuration") or {}


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
        return Relationship(item["name"], is_array, key_of(manual["remote_table"]), mapping)
    on = using["foreign_key_constraint_on"]
    if isinstance(on, dict):
        return _reverse(table, item, is_array, on, tables)
    key = _foreign_key(table, [on] if isinstance(on, str) else on)
    if key is None:
        return None
    mapping = tuple(zip(key.columns, key.target_columns, strict=True))
    return Relationship(item["name"], is_array, key.target, mapping)


def _reverse(
    table: Table, item: Json, is_array: bool, on: Json, tables: dict[Key, TrackedTable]
) -> Relationship | None:
    remote = tables.get(key_of(on["table"]))
    columns = [on["column"]] if "column" in on else list(on["columns"])
    key = _foreign_key(remote.table, columns, table.key) if remote else None
    if remote is None or key is None:
        return None
    mapping = tuple(zip(key.target_columns, key.columns, strict=True))
    return Relationship(item["name"], is_array, remote.table.key, mapping)


def _foreign_key(table: Table, columns: list[str], target: Key | None = None) -> ForeignKey | None:
    for key in table.foreign_keys:
        if set(key.columns) == set(columns) and target in (None, key.target):
            return key
    return None


INFIX = {
    "_eq": "=", "_neq": "<>", "_gt": ">", "_lt": "<", "_gte": ">=", "_lte": "<=", "_like": "LIKE",
    "_nlike": "NOT LIKE", "_ilike": "ILIKE", "_nilike": "NOT ILIKE", "_similar": "SIMILAR TO",
    "_nsimilar": "NOT SIMILAR TO", "_regex": "~", "_iregex": "~*", "_nregex": "!~", "_niregex": "!~*",
    "_contains": "@>", "_contained_in": "<@", "_has_key": "?", "_has_keys_any": "?|",
    "_has_keys_all": "?&",
}  # fmt: skip
OPERATORS = {*INFIX, "_in", "_nin", "_is_null"}
TEXT = Type("text", "text")
BOOLEAN = Type("boolean", "bool")
TEXTS = Type("text[]", "_text", "b", TEXT)
ALIASES = {"_ne": "_neq", "_cne": "_cneq"}
OTHER_OPERATORS = (
    "_cast", "_ancestor", "_ancestor_any", "_descendant", "_descendant_any", "_matches", "_matches_any",
    "_matches_fulltext",
)  # fmt: skip
EQUALITY = ("_eq", "_neq", "_gt", "_lt", "_gte", "_lte")
COLUMN_OPERATORS = {f"_c{op[1:]}" for op in EQUALITY}
# Types whose values are JSON strings, with their name in messages.
CHECKED = {"uuid": "UUID", "text": "Text"}


@dataclass(frozen=True)
class Const:
    value: Any


@dataclass(frozen=True)
class SessionVariable:
    """The value of a session variable of the request (name in lower case)."""

    name: str


Operand = Const | SessionVariable


@dataclass(frozen=True)
class Compare:
    """`column op operand`. op: a Hasura operator with its underscore, or `=?`/`<>?` (equal or both null)."""

    column: Column
    op: str
    operand: Operand
    operand_type: Type


@dataclass(frozen=True)
class All:
    """True if every item is true (true when empty)."""

    items: tuple["BoolExp", ...] = ()


@dataclass(frozen=True)
class AnyOf:
    """True if at least one item is true (false when empty)."""

    items: tuple["BoolExp", ...] = ()


@dataclass(frozen=True)
class Not:
    item: "BoolExp"


@dataclass(frozen=True)
class Related:
    """True if a related row satisfies `where`."""

    relationship: Relationship
    where: "BoolExp"


@dataclass(frozen=True)
class Unsupported:
    """A condition that the metadata may hold and this stand-in does not evaluate."""

    what: str


BoolExp = Compare | All | AnyOf | Not | Related | Unsupported
TRUE = All()


def both(first: BoolExp, second: BoolExp) -> BoolExp:
    """Combine two conditions; one that is always true is dropped."""
    if first == TRUE:
        return second
    if second == TRUE:
        return first
    return All((first, second))


Tables = dict[Key, TrackedTable]


def array_of(type_: Type) -> Type:
    return Type(f"{type_.name}[]", f"_{type_.internal}", "b", type_)


def operand_type(op: str, type_: Type) -> Type:
    """Return the type of the right side of an operator on a column of `type_`."""
    if op == "_is_null":
        return BOOLEAN
    if op in ("_in", "_nin"):
        return array_of(type_)
    if op == "_has_key":
        return TEXT
    if op in ("_has_keys_any", "_has_keys_all"):
        return TEXTS
    return type_


def is_session_variable(value: Any) -> bool:
    """Whether a string of the metadata names a session variable."""
    return isinstance(value, str) and value.lower().startswith("x-hasura-")


def operand(value: Any) -> Operand:
    """Read a value of the metadata: a session variable, a constant, or a list of these."""
    if is_session_variable(value):
        return SessionVariable(value.lower())
    if isinstance(value, list):
        return Const([SessionVariable(v.lower()) if is_session_variable(v) else v for v in value])
    return Const(value)


class Unfit(ValueError):
    """A condition or a value of the metadata does not fit the database; says why as the engine does."""


def check_value(column: Column, value: Any) -> None:
    """Raise Unfit for a constant of the wrong JSON kind; the text of values is not checked."""
    name = CHECKED.get(column.type.internal)
    if name is not None and value is not None and not isinstance(value, str):
        raise Unfit(f"parsing {name} failed, expected String, but encountered {kind_of(value)}")


def permission_exp(table: TrackedTable, tables: Tables, expression: Any) -> BoolExp:
    """Read the condition `expression` on rows of `table`. Raises Unfit."""
    items = expression.items() if isinstance(expression, dict) else ()
    return All(tuple(_item(table, tables, key, value) for key, value in items))


def _item(table: TrackedTable, tables: Tables, key: str, value: Any) -> BoolExp:
    name = "_" + key[1:] if key.startswith("$") else key
    if name in ("_and", "_or"):
        items = value if isinstance(value, list) else [value]
        parts = tuple(permission_exp(table, tables, item) for item in items)
        return All(parts) if name == "_and" else AnyOf(parts)
    if name == "_not":
        return Not(permission_exp(table, tables, value))
    if name == "_exists":
        return Unsupported(f'the condition "{key}" in a permission')
    found = table.relationships.get(key)
    if found is not None:
        return Related(found, permission_exp(tables[found.target], tables, value))
    if key in table.computed_fields:
        return Unsupported(f'the computed field "{key}" in a permission')
    if table.has_relationship(key):
        return Unsupported(f'the inconsistent relationship "{key}"')
    column = table.table.columns.get(key) or table.gql_columns.get(key)
    if column is None:
        raise Unfit(f'"{key}" does not exist')
    tests = value if isinstance(value, dict) else {"_eq": value}
    return All(tuple(_test(column, op, right) for op, right in tests.items()))


def _test(column: Column, key: str, right: Any) -> BoolExp:
    op = "_" + key[1:] if key.startswith("$") else key
    op = ALIASES.get(op, op)
    if op in COLUMN_OPERATORS or op in OTHER_OPERATORS or op.startswith("_st_"):
        return Unsupported(f'the operator "{key}" in a permission')
    if op not in OPERATORS:
        raise Unfit(f"Unknown operator: {key}")
    if op in EQUALITY:
        check_value(column, right)
    null_safe = {"_eq": "=?", "_neq": "<>?"}.get(op, op)
    return Compare(column, null_safe, operand(right), operand_type(op, column.type))


KINDS = ("select", "insert", "update", "delete")


@dataclass
class SelectView:
    columns: dict[str, Column]
    filter: BoolExp = TRUE
    limit: int | None = None
    aggregations: bool = True
    query_fields: frozenset[str] | None = None


@dataclass
class WriteView:
    """Insert, update or delete permission; `columns` are those that a client may set."""

    columns: dict[str, Column] = field(default_factory=dict)
    filter: BoolExp = TRUE
    check: BoolExp = TRUE
    presets: dict[str, Operand] = field(default_factory=dict)
    backend_only: bool = False


@dataclass
class TableView:
    tracked: TrackedTable
    select: SelectView | None = None
    insert: WriteView | None = None
    update: WriteView | None = None
    delete: WriteView | None = None

    @property
    def name(self) -> str:
        return self.tracked.name

    @property
    def readable(self) -> SelectView:
        """The permission to read, which the role has."""
        assert self.select is not None
        return self.select


@dataclass
class RoleViews:
    role: str
    model: Model
    tables: dict[Key, TableView]

    def selectable(self, key: Key) -> TableView | None:
        view = self.tables.get(key)
        return view if view is not None and view.select is not None else None

    def relationships(self, view: TableView) -> list[tuple[Relationship, TableView]]:
        """Return the relationships of a table to tables that the role may read."""
        pairs = [(rel, self.selectable(rel.target)) for rel in view.tracked.relationships.values()]
        return [(rel, target) for rel, target in pairs if target is not None]


def build_views(model: Model, role: str, backend: bool) -> RoleViews:
    """Build the views of a role. backend: whether permissions marked backend_only count."""
    tables: dict[Key, TableView] = {}
    for key, tracked in model.tables.items():
        view = TableView(tracked)
        if role == "admin":
            _grant_all(view)
        else:
            _grant(view, model, role)
        for kind in KINDS[1:]:
            permission = getattr(view, kind)
            if permission is not None and permission.backend_only and not backend:
                setattr(view, kind, None)
        tables[key] = view
    return RoleViews(role, model, tables)


def _grant_all(view: TableView) -> None:
    tracked = view.tracked
    columns = dict(tracked.gql_columns)
    view.select = SelectView(columns)
    writable = {name: column for name, column in columns.items() if not column.generated}
    insertable = {name: column for name, column in writable.items() if not column.always_identity}
    if tracked.table.insertable:
        view.insert = WriteView(insertable)
    if tracked.table.updatable:
        view.update = WriteView(insertable)
    if tracked.table.deletable:
        view.delete = WriteView()


def _grant(view: TableView, model: Model, role: str) -> None:
    table = view.tracked.table
    allowed = {"insert": table.insertable, "update": table.updatable, "delete": table.deletable}
    for kind in KINDS:
        items = view.tracked.entry.get(f"{kind}_permissions") or []
        found = next((item["permission"] for item in items if item["role"] == role), None)
        if found is None:
            continue
        try:
            if kind == "select":
                view.select = _select(view.tracked, model, found)
            elif allowed[kind]:
                setattr(view, kind, _write(view.tracked, model, found, kind))
        except Unfit:
            continue  # inconsistent: it names a missing object, so it grants nothing


def _columns(tracked: TrackedTable, wanted: Any) -> dict[str, Column]:
    if wanted == "*":
        return dict(tracked.gql_columns)
    return {gql: column for gql, column in tracked.gql_columns.items() if column.name in wanted}


def _select(tracked: TrackedTable, model: Model, definition: Json) -> SelectView:
    fields = definition.get("query_root_fields")
    return SelectView(
        _columns(tracked, definition.get("columns") or []),
        permission_exp(tracked, model.tables, definition.get("filter")),
        definition.get("limit"),
        bool(definition.get("allow_aggregations")),
        query_fields=None if fields is None else frozenset(fields),
    )


def _write(tracked: TrackedTable, model: Model, definition: Json, kind: str) -> WriteView:
    presets = {name: operand(value) for name, value in (definition.get("set") or {}).items()}
    wanted = definition.get("columns", "*" if kind == "insert" else [])
    columns = {
        name: column
        for name, column in _columns(tracked, wanted).items()
        if column.name not in presets and not column.generated and not column.always_identity
    }
    check = definition.get("check")
    return WriteView(
        columns,
        permission_exp(tracked, model.tables, definition.get("filter")),
        permission_exp(tracked, model.tables, check),
        presets,
        bool(definition.get("backend_only")),
    )
