"""The GraphQL schema of a role: types of mutations, root fields of tables and actions; a cache for all roles.

Facts: the engine's `GraphQL/Schema/Action`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
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
    Model,
    RoleViews,
    SelectView,
    TableView,
    WriteView,
    build_model,
    build_views,
)
from graphql_engine.graphql.schema import (
    AnyType,
    Builder,
    aggregate_type,
    argument,
    bool_exp,
    input_field,
    is_asynchronous,
    list_of,
    of_roots,
    select_arguments,
    table_type,
    types_of,
)
from graphql_engine.rawjson import Raw


def mutation_response(b: Builder, view: TableView) -> GraphQLObjectType:
    """Make `<table>_mutation_response`: affected_rows, and returning if the role may read the table."""
    fields = {"affected_rows": GraphQLField(GraphQLNonNull(GraphQLInt))}
    if b.views.selectable(view.tracked.table.key) is not None:
        fields["returning"] = GraphQLField(GraphQLNonNull(list_of(table_type(b, view))))
    return b.output(f"{view.name}_mutation_response", fields)


def insert_input(b: Builder, view: TableView) -> GraphQLInputObjectType:
    """Make `<table>_insert_input`. Rows of relationships cannot be inserted with it."""
    assert view.insert is not None
    refused = dict.fromkeys(view.tracked.relationships, "nested insert")
    return _column_inputs(b, f"{view.name}_insert_input", view.insert.columns, refused)


def _column_inputs(
    b: Builder, name: str, columns: dict[str, Column], refused: dict[str, str] | None = None
) -> GraphQLInputObjectType:
    """Make an input type of columns that a client may set; null is allowed if the column is nullable."""
    fields = {
        n: input_field(b.value_type(column.type), column=column.type, strict=not column.nullable)
        for n, column in columns.items()
    }
    return b.inputs(name, fields, refused)


def key_arguments(b: Builder, view: TableView) -> dict[str, Any] | None:
    """Return {name: (non-null type, column)} of the primary key, or None if the role cannot read it."""
    key = view.tracked.table.primary_key
    if key is None or view.select is None:
        return None
    visible = {c.name: n for n, c in view.select.columns.items()}
    if not all(name in visible for name in key):
        return None
    columns = view.tracked.table.columns
    return {visible[name]: (GraphQLNonNull(b.value_type(columns[name].type)), columns[name]) for name in key}


def key_input(b: Builder, view: TableView) -> GraphQLInputObjectType | None:
    keys = key_arguments(b, view)
    if keys is None:
        return None
    fields = {n: input_field(type_, column=column.type) for n, (type_, column) in keys.items()}
    return b.inputs(f"{view.name}_pk_columns_input", fields)


Fields = dict[str, GraphQLField]


@dataclass(frozen=True)
class Root:
    """The mark of a root field: `kind` on `view`, or the entry of an action."""

    kind: str
    view: TableView | None = None
    action: Any = None


def root(type_: AnyType, arguments: dict[str, GraphQLArgument], mark: Root) -> GraphQLField:
    return GraphQLField(type_, arguments, extensions={"root": mark})


class _Table:
    """The root fields of one table, under their custom names."""

    def __init__(self, view: TableView) -> None:
        self.view = view
        self.fields: Fields = {}

    def add(self, kind: str, pattern: str, type_: AnyType, arguments: dict[str, GraphQLArgument]) -> None:
        """Add a field; {} stands for the table in its default name `pattern`."""
        name = self.view.tracked.root_field(kind, pattern.format(self.view.name))
        self.fields[name] = root(type_, arguments, Root(kind, self.view))


def query_fields(b: Builder) -> Fields:
    """Make the fields of tables in query_root."""
    fields: Fields = {}
    for view in b.views.tables.values():
        if view.select is not None and view.select.columns:
            fields |= _table_queries(b, view, view.select)
    return fields


def _table_queries(b: Builder, view: TableView, select: SelectView) -> Fields:
    made, chosen = _Table(view), select.query_fields
    row = table_type(b, view)
    arguments = select_arguments(b, view)
    if chosen is None or "select" in chosen:
        made.add("select", "{}", GraphQLNonNull(list_of(row)), arguments)
    if select.aggregations and (chosen is None or "select_aggregate" in chosen):
        type_ = GraphQLNonNull(aggregate_type(b, view))
        made.add("select_aggregate", "{}_aggregate", type_, arguments)
    keys = key_arguments(b, view)
    if keys is not None and (chosen is None or "select_by_pk" in chosen):
        made.add("select_by_pk", "{}_by_pk", row, _by_key(keys))
    return made.fields


def _by_key(keys: dict[str, Any]) -> dict[str, GraphQLArgument]:
    return {name: argument(type_, column=c.type) for name, (type_, c) in keys.items()}


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
    many = {"objects": argument(GraphQLNonNull(list_of(row)))}
    made.add("insert", "insert_{}", mutation_response(b, view), many)
    if view.select is not None and view.select.columns:
        one = {"object": argument(GraphQLNonNull(row))}
        made.add("insert_one", "insert_{}_one", table_type(b, view), one)
    return made.fields


def _updates(b: Builder, view: TableView, update: WriteView) -> Fields:
    if not update.columns and not update.presets:
        return {}
    made, changes = _Table(view), dict[str, GraphQLArgument]()
    if update.columns:
        values = _column_inputs(b, f"{view.name}_set_input", update.columns)
        changes["_set"] = argument(values, strict=True)
    where = argument(GraphQLNonNull(bool_exp(b, view)))
    made.add("update", "update_{}", mutation_response(b, view), {**changes, "where": where})
    keys = key_input(b, view)
    if keys is not None:
        by_key = {**changes, "pk_columns": argument(GraphQLNonNull(keys))}
        made.add("update_by_pk", "update_{}_by_pk", table_type(b, view), by_key)
    return made.fields


def _deletes(b: Builder, view: TableView) -> Fields:
    made = _Table(view)
    where = argument(GraphQLNonNull(bool_exp(b, view)))
    made.add("delete", "delete_{}", mutation_response(b, view), {"where": where})
    keys = key_arguments(b, view)
    if keys is not None:
        made.add("delete_by_pk", "delete_{}_by_pk", table_type(b, view), _by_key(keys))
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
        return root(output, self._arguments(action), Root("action", action=action))

    def _arguments(self, action: Json) -> dict[str, GraphQLArgument]:
        listed = sorted(action["definition"].get("arguments") or [], key=lambda each: str(each["name"]))
        return {
            item["name"]: argument(self.input_type(item["type"]), action_argument=True) for item in listed
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
            return {f["name"]: input_field(self.input_type(f["type"])) for f in item["fields"]}

        return self.b.inputs(name, fields)

    def _named_output(self, name: str) -> AnyType:
        if name not in self.objects:
            return self._leaf(name)
        item = self.objects[name]
        refused = {rel["name"]: RELATED for rel in item.get("relationships") or []}

        def fields() -> Fields:
            return {f["name"]: GraphQLField(self.output_type(f["type"])) for f in item["fields"]}

        return self.b.output(name, fields, refused)

    def _leaf(self, name: str) -> AnyType:
        if name not in self.enums:
            return self.b.named_scalar(name)
        values = {v["value"]: GraphQLEnumValue(v["value"]) for v in self.enums[name]["values"]}
        return self.b.once(name, lambda: GraphQLEnumType(name, values))


NO_QUERIES = "no_queries_available"
NO_QUERIES_TEXT = (
    "There are no queries available to the current role. Either there are no sources or remote schemas "
    "configured, or the current role doesn't have the required permissions."
)
# A type of introspection that the engine does not list among its types.
UNSHOWN = {"__DirectiveLocation"}


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
    mutations = mutation_fields(b) | action_mutations
    is_empty = not queries
    if is_empty:
        queries[NO_QUERIES] = GraphQLField(GraphQLNonNull(GraphQLString))
    refused = of_roots(metadata)
    many = {f"update_{view.name}_many": "update of many" for view in views.tables.values()}
    schema = GraphQLSchema(
        _root("query_root", queries, refused),
        _root("mutation_root", mutations, refused | many),
        directives=(),
        assume_valid=True,
    )
    shown = sorted(schema.type_map.keys() - UNSHOWN)
    schema.type_map = {name: sorted_type(schema.type_map[name]) for name in shown}
    return RoleSchema(schema, views, is_empty, types_of(metadata, model))


def sorted_type(type_: GraphQLNamedType) -> GraphQLNamedType:
    """Return the type with its fields or values in alphabetical order, as introspection shows them."""
    if isinstance(type_, GraphQLObjectType | GraphQLInputObjectType) and not type_.name.startswith("__"):
        ordered = {name: type_.fields[name] for name in sorted(type_.fields)}
        type_.fields.clear()
        type_.fields.update(ordered)
    return type_


def _root(name: str, fields: Fields, refused: dict[str, str]) -> GraphQLObjectType | None:
    if not fields:
        return None
    ordered = {key: fields[key] for key in sorted(fields)}
    return GraphQLObjectType(name, ordered, extensions={"refused": refused})


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
