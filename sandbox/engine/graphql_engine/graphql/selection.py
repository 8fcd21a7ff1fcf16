"""Check argument values and selections against the role's schema, with the engine's messages.

Values become JSON: fractions as Decimal, input objects as dicts with the given fields only. Selections are
flattened. graphql-core answers `__schema` and `__type` over the role's schema. Facts: the engine's
schema-parsers `Internal/{Input,Scalars,TypeChecking}`, `Collect`, `Directives` and `Internal/Parser`;
`Data.Parser.JSONPath`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from graphql import (
    BooleanValueNode,
    DocumentNode,
    EnumValueNode,
    ExecutionResult,
    FieldNode,
    FloatValueNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    IntValueNode,
    ListTypeNode,
    ListValueNode,
    MaxIntrospectionDepthRule,
    NamedTypeNode,
    NonNullTypeNode,
    NullValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SchemaMetaFieldDef,
    SelectionNode,
    SelectionSetNode,
    StringValueNode,
    TypeMetaFieldDef,
    TypeNode,
    Undefined,
    ValueNode,
    VariableNode,
    execute,
    get_named_type,
    print_ast,
    validate,
)

from graphql_engine.catalog import Type
from graphql_engine.errors import QErr, unsupported
from graphql_engine.graphql.document import MAX_DEPTH, MAX_NODES, Json, Operation, Variable, failed
from graphql_engine.graphql.scalars import PARSERS, parse_pg, scalar_name
from graphql_engine.graphql.schema import no_argument, no_field
from graphql_engine.rawjson import Raw, dumps, scientific

Value = Json | ValueNode
LITERALS: dict[type[ValueNode], str] = {
    IntValueNode: "an integer",
    FloatValueNode: "a float",
    StringValueNode: "a string",
    BooleanValueNode: "a boolean",
    NullValueNode: "null",
    EnumValueNode: "an enum value",
    ListValueNode: "a list",
    ObjectValueNode: "an object",
}
BUILT_IN = {"Boolean", "Float", "ID", "Int", "String"}
# Scalars whose name in GraphQL is not that of their type. The engine reads an action's own arguments of type
# String and Boolean as if they were PostgreSQL's, but not the fields of input objects.
SPELLED_ALIKE = {*PARSERS, "numeric", "float4", "float8"}
POSTGRES_NAMES = {"String": "text", "Boolean": "bool", "bigint": "int8", "smallint": "int2"}
INT32 = 2**31


def is_null(value: Value) -> bool:
    return isinstance(value, NullValueNode) or (isinstance(value, Json) and value.value is None)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def described(value: Value) -> str:
    """Return the name of a kind of value in messages."""
    if not isinstance(value, Json):
        return LITERALS.get(type(value), "null")
    plain = value.value
    if plain is None:
        return "null"
    if isinstance(plain, bool):
        return "a boolean"
    if isinstance(plain, str):
        return "a string"
    if isinstance(plain, list):
        return "a list"
    return "an object" if isinstance(plain, dict) else "a number"


def usage_allowed(variable: Variable, location: Any, has_default: bool) -> bool:
    """Whether a variable may be used where `location` is expected (GraphQL 5.8.5 as the engine reads it)."""
    strict = isinstance(location, GraphQLNonNull)
    declared = variable.type
    if strict and not isinstance(declared, NonNullTypeNode):
        default = variable.default is not None and not isinstance(variable.default, NullValueNode)
        if not has_default and not default:
            return False
    return _compatible(location.of_type if strict else location, _nullable(declared))


def _nullable(node: TypeNode) -> TypeNode:
    return node.type if isinstance(node, NonNullTypeNode) else node


def _compatible(location: Any, node: TypeNode) -> bool:
    if isinstance(location, GraphQLList):
        if not isinstance(node, ListTypeNode):
            return False
        inner = location.of_type
        inner = inner.of_type if isinstance(inner, GraphQLNonNull) else inner
        return _compatible(inner, _nullable(node.type))
    return isinstance(node, NamedTypeNode) and bool(node.name.value == location.name)


Path = tuple[str | int, ...]


def has_default(item: Any) -> bool:
    """Whether an argument or input field has a default. Defaults of introspection fields do not count."""
    return item.default_value is not Undefined or item.default is not None


class Reader:
    """Read the values of one operation; `variables` are its declared variables."""

    def __init__(self, variables: dict[str, Variable]) -> None:
        self.variables = variables

    def arguments(
        self, given: Mapping[str, Value], declared: Mapping[str, Any], path: Path
    ) -> dict[str, Any]:
        """Return the values of the given arguments (or input fields) and of those with defaults."""
        values: dict[str, Any] = {}
        for name, value in given.items():
            item = declared[name]
            values[name] = self.read(value, item.type, item.extensions, (*path, name), has_default(item))
        for name, item in declared.items():
            here = (*path, name)
            if name in given:
                continue
            if has_default(item):
                values[name] = None if item.default_value is Undefined else item.default_value
            elif isinstance(item.type, GraphQLNonNull):
                raise self._error(f"missing required field '{name}'", here)
        return values

    def read(
        self, value: Value, type_: Any, marks: Mapping[str, Any], path: Path, has_default: bool = False
    ) -> Any:
        value = self._peel(value, type_, path, has_default)
        strict = isinstance(type_, GraphQLNonNull)
        inner = type_.of_type if strict else type_
        if not strict and not marks.get("strict") and is_null(value):
            return None
        column: Type | None = marks.get("column")
        if column is not None and not isinstance(inner, GraphQLEnumType):
            return self._column(value, inner, column, marks, path)
        if isinstance(inner, GraphQLList):
            return [self.read(item, inner.of_type, marks, here) for item, here in self._items(value, path)]
        if isinstance(inner, GraphQLEnumType):
            return self._enum(value, inner, path)
        if isinstance(inner, GraphQLInputObjectType):
            return self._object(value, inner, path)
        return self._scalar(value, inner.name, marks, path)

    def _column(self, value: Value, inner: Any, column: Type, marks: Mapping[str, Any], path: Path) -> Any:
        if marks.get("items"):
            items = self._items(value, path)
            element = column.element
            assert element is not None
            return [
                self._column(self._peel(item, inner.of_type, here, False), None, element, {}, here)
                for item, here in items
            ]
        plain = self.to_json(value)
        if plain is None:
            name = scalar_name(column.element or column)
            raise self._error(f"unexpected null value for type '{name}'", path)
        return parse_pg(column, plain, path)

    def _items(self, value: Value, path: Path) -> list[tuple[Value, Path]]:
        if is_null(value):
            raise self._error("expected a list, but found null", path)
        if isinstance(value, ListValueNode):
            return [(item, (*path, i)) for i, item in enumerate(value.values)]
        if isinstance(value, Json) and isinstance(value.value, list):
            return [(Json(item), (*path, i)) for i, item in enumerate(value.value)]
        return [(value, (*path, 0))]

    def _enum(self, value: Value, type_: GraphQLEnumType, path: Path) -> str:
        if isinstance(value, EnumValueNode) or (isinstance(value, Json) and isinstance(value.value, str)):
            name = value.value
        else:
            raise self._mismatch(type_.name, "an enum value", value, path)
        if name not in type_.values:
            known = ", ".join(f"'{v}'" for v in type_.values)
            raise self._error(
                f"expected one of the values [{known}] for type '{type_.name}', but found '{name}'", path
            )
        return name

    def _object(self, value: Value, type_: GraphQLInputObjectType, path: Path) -> dict[str, Any]:
        given: dict[str, Value]
        if isinstance(value, ObjectValueNode):
            given = {f.name.value: f.value for f in value.fields}
        elif isinstance(value, Json) and isinstance(value.value, dict):
            given = {key: Json(item) for key, item in value.value.items()}
        else:
            raise self._mismatch(type_.name, "an object", value, path)
        fields: dict[str, GraphQLInputField] = type_.fields
        for name in given:
            if name not in fields:
                raise no_field(type_, name).under(*path, name)
        return self.arguments(given, fields, path)

    def _scalar(self, value: Value, name: str, marks: Mapping[str, Any], path: Path) -> Any:
        if name not in BUILT_IN or (marks.get("action_argument") and name in POSTGRES_NAMES):
            internal = POSTGRES_NAMES.get(name, name if name in SPELLED_ALIKE else "jsonb")
            return parse_pg(Type(name, internal), self.to_json(value), path)
        plain = value.value if isinstance(value, Json) else value
        if name == "Boolean":
            if isinstance(plain, BooleanValueNode | bool):
                return self.to_json(value)
            raise self._mismatch(name, "a boolean", value, path)
        if name == "String":
            if isinstance(plain, StringValueNode | str):
                return self.to_json(value)
            raise self._mismatch(name, "a string", value, path)
        if name == "Int":
            return self._int(value, marks.get("range"), path)
        if name == "Float":
            if isinstance(plain, IntValueNode | FloatValueNode) or is_number(plain):
                return self.to_json(value)
            raise self._mismatch(name, "a float", value, path)
        if isinstance(plain, IntValueNode | StringValueNode | str) or is_number(plain):
            return str(self.to_json(value))
        raise self._mismatch(name, "a String or a 32-bit integer", value, path)

    def _int(self, value: Value, kind: str | None, path: Path) -> int:
        expected = {
            "non-negative": "a non-negative 32-bit integer",
            "big": "a 32-bit integer, or a 64-bit integer represented as a string",
        }.get(kind or "", "a 32-bit integer")
        number = self.to_json(value)
        is_int = isinstance(value, IntValueNode) or (isinstance(value, Json) and is_number(value.value))
        if kind == "big" and isinstance(number, str) and number.isdecimal():
            is_int, number = True, int(number)
        if not is_int or (kind == "non-negative" and number < 0):
            raise self._mismatch("Int", expected, value, path)
        bound = 2**63 if kind == "big" else INT32
        if number != int(number) or not -bound <= number < bound:
            raise QErr(
                "parse-failed",
                f"The value {scientific(Decimal(str(number)))} lies outside the bounds or is not an integer. "
                "Maybe it is a float, or is there integer overflow?",
            ).under(*path)
        return int(number)

    def to_json(self, value: Value) -> Any:
        """Return a value as JSON with its variables replaced."""
        if isinstance(value, Json):
            return value.value
        if isinstance(value, VariableNode):
            found = self.variables[value.name.value].value
            return None if found is None else self.to_json(found)
        if isinstance(value, IntValueNode):
            return int(value.value)
        if isinstance(value, FloatValueNode):
            return Decimal(value.value)
        if isinstance(value, StringValueNode | BooleanValueNode | EnumValueNode):
            return value.value
        if isinstance(value, ListValueNode):
            return [self.to_json(item) for item in value.values]
        if isinstance(value, ObjectValueNode):
            return {f.name.value: self.to_json(f.value) for f in value.fields}
        return None

    def _peel(self, value: Value, type_: Any, path: Path, has_default: bool) -> Value:
        if not isinstance(value, VariableNode):
            return value
        variable = self.variables[value.name.value]
        if not usage_allowed(variable, type_, has_default):
            raise self._error(
                f"variable '{variable.name}' is declared as '{variable.spelled}', "
                f"but used where '{type_}' is expected",
                path,
            )
        return NullValueNode() if variable.value is None else variable.value

    def _mismatch(self, name: str, expected: str, value: Value, path: Path) -> QErr:
        return self._error(f"expected {expected} for type '{name}', but found {described(value)}", path)

    def _error(self, message: str, path: Path) -> QErr:
        return failed(message).under(*path)


# One step: .key, [0], ["key"] or ['key']; the dot before a bracket is optional.
STEP = re.compile(
    r"""\.?([^\W\d][\w-]*)|\.?\[(\d+)\]|\.?\[\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*\]"""
)
ACCEPTED = (
    "Accept letters, digits, underscore (_) or hyphen (-) only."
    ' Use quotes enclosed in bracket (["..."]) if there is any special character'
)
INTROSPECTION = {"__schema": SchemaMetaFieldDef, "__type": TypeMetaFieldDef}


def json_steps(text: str) -> list[str]:
    """Return the keys and indexes of a path. Raises QErr."""
    if not text:
        raise failed(f"parse json path error: . {ACCEPTED}")
    rest = text.removeprefix("$")
    steps: list[str] = []
    position = 0
    while position < len(rest):
        match = STEP.match(rest, position)
        if match is None:
            raise failed(f"parse json path error: {text}. {ACCEPTED}")
        steps.append(next(group for group in match.groups() if group is not None))
        position = match.end()
    return steps


@dataclass
class Sel:
    """A checked field: response name, definition, argument values, and its own selections."""

    alias: str
    name: str
    definition: GraphQLField | None = None
    args: dict[str, Any] = field(default_factory=dict)
    subs: list["Sel"] = field(default_factory=list)
    type_name: str = ""
    nodes: list[FieldNode] = field(default_factory=list)

    @property
    def is_typename(self) -> bool:
        return self.name == "__typename"


class Selector:
    """Check the selections of one operation; count its nodes and their depth."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.reader = Reader(operation.variables)
        self.nodes_left = MAX_NODES

    def root(self, type_: GraphQLObjectType) -> list[Sel]:
        _refuse_directives(self.operation.node)
        return self._select(type_, [self.operation.node.selection_set], ("selectionSet",), 0)

    def _select(
        self, type_: GraphQLObjectType, sets: Sequence[SelectionSetNode], path: Path, depth: int
    ) -> list[Sel]:
        if depth >= MAX_DEPTH:
            raise failed(f"the query exceeds the depth limit of {MAX_DEPTH}")
        collected: dict[str, list[FieldNode]] = {}
        for item in sets:
            self._collect(type_.name, item, path, collected)
        return [self._field(type_, alias, nodes, path, depth) for alias, nodes in collected.items()]

    def _collect(
        self, type_name: str, selections: SelectionSetNode, path: Path, found: dict[str, list[FieldNode]]
    ) -> None:
        for item in selections.selections:
            self.nodes_left -= 1
            if self.nodes_left < 0:
                raise failed("the query exceeds the limit on the number of nodes")
            _refuse_directives(item, *path)
            if isinstance(item, FieldNode):
                self._merge(item, path, found)
                continue
            fragment: Any = item
            if isinstance(item, FragmentSpreadNode):
                fragment = self.operation.fragments[item.name.value]
            condition = fragment.type_condition
            if condition is None or condition.name.value == type_name:
                self._collect(type_name, fragment.selection_set, path, found)

    def _merge(self, node: FieldNode, path: Path, found: dict[str, list[FieldNode]]) -> None:
        alias = node.alias.value if node.alias else node.name.value
        nodes = found.setdefault(alias, [])
        if nodes:
            first = nodes[0]
            if first.name.value != node.name.value:
                raise failed(
                    f"selection of both '{first.name.value}' and '{node.name.value}' "
                    f"specify the same response name, '{alias}'"
                ).under(*path)
            if _arguments(first) != _arguments(node):
                raise failed(
                    f"inconsistent arguments between multiple selections of field '{first.name.value}'"
                ).under(*path)
        nodes.append(node)

    def _field(
        self, type_: GraphQLObjectType, alias: str, nodes: list[FieldNode], path: Path, depth: int
    ) -> Sel:
        name = nodes[0].name.value
        if name == "__typename":
            return Sel(alias, name, type_name=type_.name, nodes=nodes)
        here = (*path, name)
        definition = type_.fields.get(name)
        if depth == 0 and type_.name == "query_root":
            definition = INTROSPECTION.get(name, definition)
        if definition is None:
            raise no_field(type_, name).under(*here)
        args = self._arguments(definition, nodes[0], here)
        target = get_named_type(definition.type)
        sets = [node.selection_set for node in nodes if node.selection_set is not None]
        sel = Sel(alias, name, definition, args, type_name=type_.name, nodes=nodes)
        if isinstance(target, GraphQLObjectType):
            inner = (*here, "selectionSet")
            if not sets:
                raise failed(f"missing selection set for '{target.name}'").under(*inner)
            sel.subs = self._select(target, sets, inner, depth + 1)
        elif sets:
            raise failed("unexpected subselection set for non-object field").under(*here)
        return sel

    def _arguments(self, definition: GraphQLField, node: FieldNode, path: Path) -> dict[str, Any]:
        given = {item.name.value: item.value for item in node.arguments or ()}
        for name in given:
            if name not in definition.args:
                raise no_argument(node.name.value, name).under(*path)
        if not definition.args:
            return {}
        values = self.reader.arguments(given, definition.args, (*path, "args"))
        if values.get("path") is not None and definition.args["path"].extensions.get("json_path"):
            try:
                json_steps(values["path"])
            except QErr as error:
                raise error.under(*path, "args") from None
        return values


def _refuse_directives(node: OperationDefinitionNode | SelectionNode, *path: str | int) -> None:
    for directive in node.directives or ():
        name = directive.name.value
        if name in ("include", "skip"):
            raise unsupported(f'the directive "{name}"')
        raise failed(f"directive '{name}' is not defined in the schema").under(*path)


def _arguments(node: FieldNode) -> dict[str, str]:
    return {item.name.value: print_ast(item.value) for item in node.arguments or ()}


Known = dict[tuple[str, ...], Raw]
MAX_CACHED_ANSWERS = 20


def introspect(schema: GraphQLSchema, known: Known, operation: Operation, sel: Sel) -> Raw:
    """Return the value of an introspection field. `known` caches answers, which are slow. Raises QErr."""
    reader = Reader(operation.variables)
    given = {
        key: reader.to_json(variable.value)
        for key, variable in operation.variables.items()
        if isinstance(variable.value, Json)
    }
    name = operation.node.name
    key = (operation.text, "" if name is None else name.value, sel.alias, dumps(given))
    if key not in known:
        if len(known) >= MAX_CACHED_ANSWERS:
            known.clear()
        known[key] = Raw(dumps(_answer(schema, operation, sel, given)))
    return known[key]


def _answer(schema: GraphQLSchema, operation: Operation, sel: Sel, values: dict[str, Any]) -> Any:
    node = operation.node
    only = type(node)(
        operation=OperationType.QUERY,
        name=None,
        directives=(),
        variable_definitions=node.variable_definitions,
        selection_set=SelectionSetNode(selections=tuple(sel.nodes)),
    )
    document = DocumentNode(definitions=(only, *operation.fragments.values()))
    if validate(schema, document, [MaxIntrospectionDepthRule]):
        raise failed("the introspection is nested too deeply")
    result = execute(schema, document, variable_values=values)
    assert isinstance(result, ExecutionResult)
    if result.errors:
        raise failed(result.errors[0].message)
    return (result.data or {}).get(sel.alias)
