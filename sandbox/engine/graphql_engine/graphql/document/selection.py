"""Check a selection set against the role's schema and flatten it.

Facts: the engine's schema-parsers `Collect`, `Directives` and `Internal/Parser`; `Data.Parser.JSONPath`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLBoolean,
    GraphQLField,
    GraphQLNonNull,
    GraphQLObjectType,
    InlineFragmentNode,
    SchemaMetaFieldDef,
    SelectionSetNode,
    TypeMetaFieldDef,
    get_named_type,
    print_ast,
)

from graphql_engine.errors import QErr
from graphql_engine.graphql.document.operation import MAX_DEPTH, MAX_NODES, Operation, failed
from graphql_engine.graphql.document.values import Path, Reader
from graphql_engine.graphql.schema.refused import no_field
from graphql_engine.graphql.schema.write import PLACEHOLDER

# One step: .key, [0], ["key"] or ['key']; the dot before a bracket is optional.
STEP = re.compile(
    r"""\.?([^\W\d][\w-]*)|\.?\[(\d+)\]|\.?\[\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*\]"""
)
ACCEPTED = (
    "Accept letters, digits, underscore (_) or hyphen (-) only."
    ' Use quotes enclosed in bracket (["..."]) if there is any special character'
)
LOCATIONS = {
    FieldNode: "a field",
    FragmentSpreadNode: "an inline fragment",
    InlineFragmentNode: "an inline fragment",
}
INCLUSION = ("include", "skip")
HIDDEN = {"_multiple_top_level_fields"}
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
        """Return the root fields in order."""
        for directive in self.operation.node.directives or ():
            name = directive.name.value
            if name in INCLUSION:
                raise failed(f"directive '{name}' is not allowed on a {self.operation.kind}")
            if name != "cached" and name not in HIDDEN:
                raise failed(f"directive '{name}' is not defined in the schema")
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
            if not self._included(item.directives, LOCATIONS[type(item)], path):
                continue
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

    def _included(self, directives: Sequence[DirectiveNode] | None, place: str, path: Path) -> bool:
        seen: list[str] = []
        wanted = True
        for directive in directives or ():
            name = directive.name.value
            if name == "cached" or name in HIDDEN:
                raise failed(f"directive '{name}' is not allowed on {place}").under(*path)
            if name not in INCLUSION:
                raise failed(f"directive '{name}' is not defined in the schema").under(*path)
            if name in seen:
                raise failed(f"the following directives are used more than once: ['{name}']").under(*path)
            seen.append(name)
            condition = self._condition(directive, (*path, name))
            wanted = wanted and (condition if name == "include" else not condition)
        return wanted

    def _condition(self, directive: DirectiveNode, path: Path) -> bool:
        value = None
        for item in directive.arguments or ():
            if item.name.value != "if":
                raise failed(f"'{directive.name.value}' has no argument named '{item.name.value}'").under(
                    *path
                )
            value = item.value
        here = (*path, "args", "if")
        if value is None:
            raise failed("missing required field 'if'").under(*here)
        return bool(self.reader.read(value, GraphQLNonNull(GraphQLBoolean), {}, here))

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
                raise failed(f"'{node.name.value}' has no argument named '{name}'").under(*path)
        if not definition.args:
            return {}
        values = self.reader.arguments(given, definition.args, (*path, "args"))
        try:
            check_arguments(definition, values)
        except QErr as error:
            raise error.under(*path, "args") from None
        return values


def check_arguments(definition: GraphQLField, values: dict[str, Any]) -> None:
    """Check what types cannot express: order of `distinct_on`, JSON paths, placeholders. Raises QErr."""
    distinct = values.get("distinct_on")
    ordering = [name for item in values.get("order_by") or [] for name in item or {}]
    if distinct and ordering and set(ordering[: len(distinct)]) != set(distinct):
        raise failed('"distinct_on" columns must match initial "order_by" columns')
    if PLACEHOLDER in ((values.get("on_conflict") or {}).get("update_columns") or []):
        raise failed("erroneous column name", "$.on_conflict")
    if values.get("path") is not None and definition.args["path"].extensions.get("json_path"):
        json_steps(values["path"])


def _arguments(node: FieldNode) -> dict[str, str]:
    return {item.name.value: print_ast(item.value) for item in node.arguments or ()}
