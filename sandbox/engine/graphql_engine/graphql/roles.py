"""The GraphQL schema of a role: types of mutations, root fields of tables and actions; a cache for all roles.

Facts: the engine's `GraphQL/Schema/Action`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DirectiveLocation,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLDirective,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    GraphQLString,
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    TypeNode,
    parse_type,
)

from graphql_engine.catalog import Catalog, Column
from graphql_engine.errors import unsupported
from graphql_engine.graphql.model import (
    INTEGER,
    TEXT,
    TEXTS,
    Model,
    RoleViews,
    SelectView,
    TableView,
    WriteView,
    build_model,
    build_views,
    described,
)
from graphql_engine.graphql.scalars import is_graphql_name, is_numeric
from graphql_engine.graphql.schema import (
    TEXTS_OF,
    AnyType,
    Builder,
    aggregate_type,
    argument,
    bool_exp,
    input_field,
    is_asynchronous,
    list_of,
    of_roots,
    quoted,
    select_arguments,
    table_type,
    types_of,
)
from graphql_engine.rawjson import Raw

InputFields = dict[str, GraphQLInputField]
PLACEHOLDER = "_PLACEHOLDER"


def mutation_response(b: Builder, view: TableView) -> GraphQLObjectType:
    """Make `<table>_mutation_response`: affected_rows, and returning if the role may read the table."""
    about = "number of rows affected by the mutation"
    fields = {"affected_rows": GraphQLField(GraphQLNonNull(GraphQLInt), description=about)}
    if b.views.selectable(view.tracked.table.key) is not None:
        rows, about = (
            GraphQLNonNull(list_of(table_type(b, view))),
            "data from the rows affected by the mutation",
        )
        fields["returning"] = GraphQLField(rows, description=about)
    text = f"response of any mutation on the table {quoted(view)}"
    return b.output(f"{view.name}_mutation_response", fields, text)


def column_field(b: Builder, column: Column) -> GraphQLInputField:
    """Make the field of a column that a client may set; null is allowed only if the column is nullable."""
    type_ = b.value_type(column.type)
    return input_field(type_, column.comment, column=column.type, strict=not column.nullable)


def insert_input(b: Builder, view: TableView) -> GraphQLInputObjectType:
    """Make `<table>_insert_input`. Rows of relationships cannot be inserted with it."""
    assert view.insert is not None
    text = f"input type for inserting data into table {quoted(view)}"
    refused = dict.fromkeys(view.tracked.relationships, "nested insert")
    return _column_inputs(b, f"{view.name}_insert_input", view.insert.columns, text, refused=refused)


def conflict_argument(b: Builder, view: TableView) -> dict[str, GraphQLArgument]:
    """Make `on_conflict` as an argument of a root field."""
    type_ = _on_conflict(b, view)
    return {} if type_ is None else {"on_conflict": argument(type_, "upsert condition")}


def _on_conflict(b: Builder, view: TableView) -> GraphQLInputObjectType | None:
    constraints = [c for c in view.tracked.table.constraints() if is_graphql_name(c.name)]
    if not constraints:
        return None
    about = "unique or primary key constraint on columns "
    values = {c.name: about + ", ".join(f'"{column}"' for column in c.columns) for c in constraints}
    text = f"unique or primary key constraints on table {quoted(view)}"
    constraint = b.enum(f"{view.name}_constraint", values, text)
    columns = GraphQLNonNull(list_of(update_columns(b, view)))
    fields: InputFields = {
        "constraint": input_field(GraphQLNonNull(constraint)),
        "update_columns": GraphQLInputField(columns, default_value=[]),
        "where": input_field(bool_exp(b, view), strict=True),
    }
    text = f"on_conflict condition type for table {quoted(view)}"
    return b.inputs(f"{view.name}_on_conflict", fields, text)


def update_columns(b: Builder, view: TableView) -> GraphQLEnumType:
    """Make `<table>_update_column`, with a placeholder if the role may update no column."""
    columns = view.update.columns if view.update is not None else {}
    values: dict[str, str | None] = dict.fromkeys(sorted(columns), "column name")
    text = f"update columns of table {quoted(view)}"
    placeholder: dict[str, str | None] = {PLACEHOLDER: "placeholder (do not use)"}
    return b.enum(f"{view.name}_update_column", values or placeholder, text)


def update_operators(b: Builder, view: TableView) -> dict[str, tuple[GraphQLInputObjectType, str]]:
    """Make the `_set`, `_inc`, … objects that the role's columns allow, with their descriptions."""
    assert view.update is not None
    columns = view.update.columns
    if not columns:
        return {}
    jsonb = {n: c for n, c in columns.items() if c.type.internal == "jsonb"}
    numbers = {n: c for n, c in columns.items() if is_numeric(c.type)}
    made: dict[str, tuple[GraphQLInputObjectType, str]] = {}
    if jsonb:
        for op, text in TEXTS_OF["jsonb_updates"].items():
            made[op] = (_jsonb_update(b, view, op, jsonb, text), text)
    if numbers:
        text = "increments the numeric columns with given value of the filtered values"
        table = f"input type for incrementing numeric columns in table {quoted(view)}"
        made["_inc"] = (_column_inputs(b, f"{view.name}_inc_input", numbers, table), text)
    table = f"input type for updating data in table {quoted(view)}"
    made["_set"] = (
        _column_inputs(b, f"{view.name}_set_input", columns, table),
        "sets the columns of the filtered rows to the given values",
    )
    return made


def _column_inputs(
    b: Builder, name: str, columns: dict[str, Column], text: str, **extensions: Any
) -> GraphQLInputObjectType:
    fields = {n: column_field(b, column) for n, column in columns.items()}
    return b.inputs(name, fields, text, **extensions)


def _jsonb_update(
    b: Builder, view: TableView, op: str, columns: dict[str, Column], text: str
) -> GraphQLInputObjectType:
    def field(column: Column) -> GraphQLInputField:
        if op == "_delete_at_path":
            return input_field(list_of(b.scalar(TEXT)), column.comment, column=TEXTS, items=True, strict=True)
        if op == "_delete_elem":
            return input_field(b.scalar(INTEGER), column.comment, column=INTEGER, strict=True)
        if op == "_delete_key":
            return input_field(b.scalar(TEXT), column.comment, column=TEXT)
        return column_field(b, column)

    return b.inputs(f"{view.name}{op}_input", {n: field(column) for n, column in columns.items()}, text)


def operator_arguments(b: Builder, view: TableView) -> dict[str, GraphQLArgument]:
    return {op: argument(t, text, strict=True) for op, (t, text) in update_operators(b, view).items()}


def key_arguments(b: Builder, view: TableView) -> dict[str, Any] | None:
    """Return {name: (non-null type, column)} of the primary key, or None if the role cannot read it."""
    key = view.tracked.table.primary_key
    if key is None or view.select is None:
        return None
    visible = {c.name: n for n, c in view.select.columns.items()}
    if not all(name in visible for name in key.columns):
        return None
    columns = view.tracked.table.columns
    return {
        visible[name]: (GraphQLNonNull(b.value_type(columns[name].type)), columns[name])
        for name in key.columns
    }


def key_input(b: Builder, view: TableView) -> GraphQLInputObjectType | None:
    keys = key_arguments(b, view)
    if keys is None:
        return None
    fields = {n: input_field(t, column.comment, column=column.type) for n, (t, column) in keys.items()}
    text = f"primary key columns input for table: {view.tracked.table.name}"
    return b.inputs(f"{view.name}_pk_columns_input", fields, text)


def updates_input(b: Builder, view: TableView) -> GraphQLInputObjectType:
    """Make `<table>_updates`: one element of update_<table>_many."""
    fields = {op: input_field(t, text, strict=True) for op, (t, text) in update_operators(b, view).items()}
    where = GraphQLNonNull(bool_exp(b, view))
    fields["where"] = input_field(where, "filter the rows which have to be updated")
    return b.inputs(f"{view.name}_updates", fields)


Fields = dict[str, GraphQLField]


@dataclass(frozen=True)
class Root:
    """The mark of a root field: `kind` on `view`, or the entry of an action."""

    kind: str
    view: TableView | None = None
    action: Any = None


def root(type_: AnyType, arguments: dict[str, GraphQLArgument], text: str | None, mark: Root) -> GraphQLField:
    return GraphQLField(type_, arguments, description=text, extensions={"root": mark})


class _Table:
    """The root fields of one table, under their custom names."""

    def __init__(self, view: TableView) -> None:
        self.view = view
        self.fields: Fields = {}

    def add(
        self, kind: str, pattern: str, type_: AnyType, arguments: dict[str, GraphQLArgument], text: str
    ) -> None:
        """Add a field; {} stands for the table in its default name `pattern` and in `text`."""
        name, comment = self.view.tracked.root_field(kind, pattern.format(self.view.name))
        comment = described(comment, text.format(quoted(self.view)))
        self.fields[name] = root(type_, arguments, comment, Root(kind, self.view))


def query_fields(b: Builder, *, subscription: bool = False) -> Fields:
    """Make the fields of tables in query_root (or subscription_root)."""
    fields: Fields = {}
    for view in b.views.tables.values():
        if view.select is not None and view.select.columns:
            chosen = view.select.subscription_fields if subscription else view.select.query_fields
            fields |= _table_queries(b, view, view.select, chosen)
    return fields


def _table_queries(b: Builder, view: TableView, select: SelectView, chosen: frozenset[str] | None) -> Fields:
    made = _Table(view)
    row = table_type(b, view)
    arguments = select_arguments(b, view)
    if chosen is None or "select" in chosen:
        made.add("select", "{}", GraphQLNonNull(list_of(row)), arguments, "fetch data from the table: {}")
    if select.aggregations and (chosen is None or "select_aggregate" in chosen):
        text = "fetch aggregated fields from the table: {}"
        type_ = GraphQLNonNull(aggregate_type(b, view))
        made.add("select_aggregate", "{}_aggregate", type_, arguments, text)
    keys = key_arguments(b, view)
    if keys is not None and (chosen is None or "select_by_pk" in chosen):
        text = "fetch data from the table: {} using primary key columns"
        made.add("select_by_pk", "{}_by_pk", row, _by_key(keys), text)
    return made.fields


def _by_key(keys: dict[str, Any]) -> dict[str, GraphQLArgument]:
    return {name: argument(type_, c.comment, column=c.type) for name, (type_, c) in keys.items()}


def mutation_fields(b: Builder) -> Fields:
    fields: Fields = {}
    for view in b.views.tables.values():
        if view.insert is not None:
            fields |= _inserts(b, view)
        if view.update is not None:
            fields |= _updates(b, view, view.update)
        if view.delete is not None:
            fields |= _deletes(b, view)
    return fields


def _inserts(b: Builder, view: TableView) -> Fields:
    row = insert_input(b, view)
    if not row.fields:
        return {}
    made = _Table(view)
    conflict = conflict_argument(b, view)
    many = {"objects": argument(GraphQLNonNull(list_of(row)), "the rows to be inserted"), **conflict}
    made.add("insert", "insert_{}", mutation_response(b, view), many, "insert data into the table: {}")
    if view.select is not None and view.select.columns:
        one = {"object": argument(GraphQLNonNull(row), "the row to be inserted"), **conflict}
        text = "insert a single row into the table: {}"
        made.add("insert_one", "insert_{}_one", table_type(b, view), one, text)
    return made.fields


def _updates(b: Builder, view: TableView, update: WriteView) -> Fields:
    operators = operator_arguments(b, view)
    if not operators and not update.presets:
        return {}
    made = _Table(view)
    response = mutation_response(b, view)
    where = argument(GraphQLNonNull(bool_exp(b, view)), "filter the rows which have to be updated")
    made.add("update", "update_{}", response, {**operators, "where": where}, "update data of the table: {}")
    keys = key_input(b, view)
    if keys is not None:
        by_key = {**operators, "pk_columns": argument(GraphQLNonNull(keys))}
        text = "update single row of the table: {}"
        made.add("update_by_pk", "update_{}_by_pk", table_type(b, view), by_key, text)
    updates = argument(GraphQLNonNull(list_of(updates_input(b, view))), "updates to execute, in order")
    text = "update multiples rows of table: {}"
    made.add("update_many", "update_{}_many", GraphQLList(response), {"updates": updates}, text)
    return made.fields


def _deletes(b: Builder, view: TableView) -> Fields:
    made = _Table(view)
    where = argument(GraphQLNonNull(bool_exp(b, view)), "filter the rows which have to be deleted")
    response = mutation_response(b, view)
    made.add("delete", "delete_{}", response, {"where": where}, "delete data from the table: {}")
    keys = key_arguments(b, view)
    if keys is not None:
        text = "delete single row from the table: {}"
        made.add("delete_by_pk", "delete_{}_by_pk", table_type(b, view), _by_key(keys), text)
    return made.fields


Json = dict[str, Any]

RELATED = "relationship of an action's output"


class Actions:
    """Add the actions that a role may call to its root fields."""

    def __init__(self, b: Builder, metadata: Json) -> None:
        self.b = b
        self.actions = metadata.get("actions") or []
        custom = metadata.get("custom_types") or {}
        self.objects = {item["name"]: item for item in custom.get("objects") or []}
        self.inputs = {item["name"]: item for item in custom.get("input_objects") or []}
        self.enums = {item["name"]: item for item in custom.get("enums") or []}

    def root_fields(self) -> tuple[Fields, Fields]:
        queries: Fields = {}
        mutations: Fields = {}
        for action in self.actions:
            role = self.b.views.role
            permitted = any(p["role"] == role for p in action.get("permissions") or [])
            if is_asynchronous(action) or not (role == "admin" or permitted):
                continue
            is_query = action["definition"].get("type", "mutation") == "query"
            (queries if is_query else mutations)[action["name"]] = self._call(action)
        return queries, mutations

    def _call(self, action: Json) -> GraphQLField:
        output = self.output_type(action["definition"]["output_type"])
        return root(output, self._arguments(action), action.get("comment"), Root("action", action=action))

    def _arguments(self, action: Json) -> dict[str, GraphQLArgument]:
        return {
            item["name"]: argument(
                self.input_type(item["type"]), item.get("description"), action_argument=True
            )
            for item in sorted(
                action["definition"].get("arguments") or [], key=lambda each: str(each["name"])
            )
        }

    def input_type(self, spelled: str) -> AnyType:
        return self._resolve(parse_type(spelled), self._named_input)

    def output_type(self, spelled: str) -> AnyType:
        return self._resolve(parse_type(spelled), self._named_output)

    def _resolve(self, node: TypeNode, named: Callable[[str], AnyType]) -> AnyType:
        if isinstance(node, NonNullTypeNode):
            return GraphQLNonNull(self._resolve(node.type, named))
        if isinstance(node, ListTypeNode):
            return GraphQLList(self._resolve(node.type, named))
        assert isinstance(node, NamedTypeNode)
        return named(node.name.value)

    def _named_input(self, name: str) -> AnyType:
        if name not in self.inputs:
            return self._leaf(name)
        item = self.inputs[name]

        def fields() -> dict[str, GraphQLInputField]:
            return {
                f["name"]: input_field(self.input_type(f["type"]), f.get("description"))
                for f in item["fields"]
            }

        text = item.get("description")
        return self.b.once(name, lambda: GraphQLInputObjectType(name, fields, description=text))

    def _named_output(self, name: str) -> AnyType:
        if name not in self.objects:
            return self._leaf(name)
        item = self.objects[name]
        text = item.get("description")
        return self.b.once(
            name,
            lambda: GraphQLObjectType(
                name,
                lambda: self._object_fields(item),
                description=text,
                extensions={"refused": {rel["name"]: RELATED for rel in item.get("relationships") or []}},
            ),
        )

    def _leaf(self, name: str) -> AnyType:
        if name not in self.enums:
            return self.b.named_scalar(name)
        item = self.enums[name]
        values = {
            v["value"]: GraphQLEnumValue(v["value"], description=v.get("description")) for v in item["values"]
        }
        text = item.get("description")
        return self.b.once(name, lambda: GraphQLEnumType(name, values, description=text))

    def _object_fields(self, item: Json) -> Fields:
        return {
            f["name"]: GraphQLField(self.output_type(f["type"]), description=f.get("description"))
            for f in item["fields"]
        }


NO_QUERIES = "no_queries_available"
NO_QUERIES_TEXT = (
    "There are no queries available to the current role. Either there are no sources or remote schemas "
    "configured, or the current role doesn't have the required permissions."
)
# A type of introspection that the engine does not list among its types.
UNSHOWN = {"__DirectiveLocation"}
CACHED = GraphQLDirective(
    "cached",
    [DirectiveLocation.QUERY],
    {
        "ttl": GraphQLArgument(
            GraphQLNonNull(GraphQLInt), default_value=60, description="measured in seconds"
        ),
        "refresh": GraphQLArgument(
            GraphQLNonNull(GraphQLBoolean), default_value=False, description="refresh the cache entry"
        ),
    },
    description="whether this query should be cached (Hasura Cloud only)",
)


@dataclass
class RoleSchema:
    """The schema of one role with what its execution needs; is_empty: it has no query."""

    schema: GraphQLSchema
    views: RoleViews
    is_empty: bool
    refused_types: dict[str, str]
    introspected: dict[tuple[str, ...], Raw] = field(default_factory=dict)


def build_schema(model: Model, metadata: dict[str, Any], role: str, backend: bool) -> RoleSchema:
    """Build the schema of a role. backend: include permissions marked backend_only."""
    views = build_views(model, role, backend)
    b = Builder(views)
    action_queries, action_mutations = Actions(b, metadata).root_fields()
    queries = query_fields(b) | action_queries
    subscriptions = query_fields(b, subscription=True)
    mutations = mutation_fields(b) | action_mutations
    is_empty = not queries
    if is_empty:
        queries[NO_QUERIES] = GraphQLField(GraphQLNonNull(GraphQLString), description=NO_QUERIES_TEXT)
    refused = of_roots(metadata)
    schema = GraphQLSchema(
        _root("query_root", queries, refused),
        _root("mutation_root", mutations, refused, "mutation root"),
        _root("subscription_root", subscriptions, refused | _streams(views)),
        directives=[GraphQLIncludeDirective, GraphQLSkipDirective, CACHED],
        assume_valid=True,
    )
    shown = sorted(schema.type_map.keys() - UNSHOWN)
    schema.type_map = {name: sorted_type(schema.type_map[name]) for name in shown}
    return RoleSchema(schema, views, is_empty, types_of(metadata, model))


def _streams(views: RoleViews) -> dict[str, str]:
    """Return the refused root fields of subscriptions: the stream of each table that the role may read."""
    refused = {}
    for view in views.tables.values():
        if view.select is None or not view.select.columns:
            continue
        chosen = view.select.subscription_fields
        if chosen is None or "select_stream" in chosen:
            refused[view.tracked.root_field("select_stream", f"{view.name}_stream")[0]] = "stream"
    return refused


def sorted_type(type_: GraphQLNamedType) -> GraphQLNamedType:
    """Return the type with its fields or values in alphabetical order, as introspection shows them."""
    if isinstance(type_, GraphQLObjectType | GraphQLInputObjectType) and not type_.name.startswith("__"):
        ordered = {name: type_.fields[name] for name in sorted(type_.fields)}
        type_.fields.clear()
        type_.fields.update(ordered)
    return type_


def _root(
    name: str, fields: Fields, refused: dict[str, str], text: str | None = None
) -> GraphQLObjectType | None:
    if not fields:
        return None
    ordered = {key: fields[key] for key in sorted(fields)}
    return GraphQLObjectType(name, ordered, description=text, extensions={"refused": refused})


class Schemas:
    """The schemas of all roles, each built on first use."""

    def __init__(self, metadata: dict[str, Any], catalog: Catalog) -> None:
        self.metadata = metadata
        self.catalog = catalog
        self.model = build_model(metadata, catalog)
        self._built: dict[tuple[str, bool], RoleSchema] = {}

    def of(self, role: str, backend: bool) -> RoleSchema:
        """Return the schema of a role. Raises QErr `not-supported` for an inherited one."""
        if any(item["role_name"] == role for item in self.metadata.get("inherited_roles") or []):
            raise unsupported(f'the inherited role "{role}"')
        key = (role, backend)
        if key not in self._built:
            self._built[key] = build_schema(self.model, self.metadata, role, backend)
        return self._built[key]
