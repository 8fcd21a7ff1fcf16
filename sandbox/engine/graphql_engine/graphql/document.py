"""Parse the text of a request into one operation with its variables and fragments; the allow list.

Facts: the engine's `GraphQL/Execute`, `Execute/Resolve`, `Execute/Inline`, `checkQueryInAllowlist`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSyntaxError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    TypeNode,
    ValueNode,
    VariableNode,
    Visitor,
    parse,
    print_ast,
    visit,
)
from graphql.language import REMOVE, VisitorAction

from graphql_engine.errors import QErr, json_path

MAX_TOKENS = 100_000
MAX_DEPTH = 60
MAX_NODES = 20_000
MAX_REQUESTS_PER_BATCH = 200


BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
NO_QUERY = "not a valid graphql query"


@dataclass(frozen=True)
class Json:
    """A JSON value of the request's variables, as opposed to a literal of the document."""

    value: Any


@dataclass(frozen=True)
class Variable:
    """A declared variable with its value: a literal for defaults, None if it was not given."""

    name: str
    type: TypeNode
    default: ValueNode | None
    value: Json | ValueNode | None

    @property
    def spelled(self) -> str:
        return print_ast(self.type)


@dataclass(frozen=True)
class Operation:
    """An operation that is ready to be checked against a schema."""

    kind: str
    node: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]
    variables: dict[str, Variable]
    text: str


def failed(message: str, path: str = "$") -> QErr:
    return QErr("validation-failed", message, path)


class _Grammar(Visitor):
    """Refuse what graphql-core parses and the engine does not: empty selections, an argument twice."""

    def enter_selection_set(self, node: SelectionSetNode, *_: Any) -> None:
        if not node.selections:
            raise failed(NO_QUERY, "$.query")

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        names = [argument.name.value for argument in node.arguments or ()]
        if len(names) > len(set(names)):
            raise failed(NO_QUERY, "$.query")


@lru_cache(maxsize=512)
def parse_document(text: str) -> DocumentNode:
    """Parse a document. Raises QErr if it is not GraphQL or too large."""
    if text.startswith(BYTE_ORDER_MARK):
        raise failed(NO_QUERY, "$.query")
    try:
        document = parse(text, no_location=True, max_tokens=MAX_TOKENS)
        if not all(
            isinstance(d, OperationDefinitionNode | FragmentDefinitionNode) for d in document.definitions
        ):
            raise failed(NO_QUERY, "$.query")
        visit(document, _Grammar())
        return document
    except GraphQLSyntaxError as error:
        if "Document contains more than" in error.message:
            raise failed("the query is too large", "$.query") from error
        raise failed(NO_QUERY, "$.query") from error
    except RecursionError as error:
        raise failed("the query is nested too deeply", "$.query") from error


def prepare(
    text: str,
    node: OperationDefinitionNode,
    fragments: dict[str, FragmentDefinitionNode],
    variables: dict[str, Any],
) -> Operation:
    """Return the operation to run: `node`, which single_operation chose. Raises QErr."""
    resolved = _variables(node, variables)
    _check_uses(node, fragments, resolved, variables)
    return Operation(node.operation.value, node, fragments, resolved, text)


def single_operation(
    document: DocumentNode, operation_name: str | None
) -> tuple[OperationDefinitionNode, dict[str, FragmentDefinitionNode]]:
    """Return the operation to run and the fragments, which all exist. Raises QErr."""
    node = _choose(document, operation_name)
    fragments: dict[str, FragmentDefinitionNode] = {}
    for definition in document.definitions:
        if isinstance(definition, FragmentDefinitionNode):
            if definition.name.value in fragments:
                raise QErr("parse-failed", f'multiple definitions for fragment "{definition.name.value}"')
            fragments[definition.name.value] = definition
    _check_spreads(node.selection_set, fragments, (), ("selectionSet",), set())
    return node, fragments


def _choose(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    found = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    if name is None:
        if len(found) != 1:
            raise failed(
                "exactly one operation has to be present in the document when operationName is not specified"
            )
        return found[0]
    named = [d for d in found if d.name is not None]
    if any(d.name is None for d in found):
        raise failed("operationName cannot be used when an anonymous operation exists in the document")
    for node in named:
        if node.name is not None and node.name.value == name:
            return node
    raise failed(f'no such operation found in the document: "{name}"')


def _variables(node: OperationDefinitionNode, given: dict[str, Any]) -> dict[str, Variable]:
    variables: dict[str, Variable] = {}
    for definition in node.variable_definitions or ():
        name = definition.variable.name.value
        if name in variables:
            raise QErr("parse-failed", f'multiple definitions for variable "{name}"')
        default = definition.default_value
        required = definition.type.kind == "non_null_type"
        value: Json | ValueNode | None = default
        if name in given:
            value = Json(given[name])
            if required and given[name] is None:
                raise failed(f'null value found for non-nullable type: "{print_ast(definition.type)}"')
        elif required and default is None:
            raise failed(f'expecting a value for non-nullable variable: "{name}"')
        variables[name] = Variable(name, definition.type, default, value)
    return variables


class _Uses(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.names.add(node.name.value)


@lru_cache(maxsize=512)
def _used(document: SelectionSetNode) -> frozenset[str]:
    uses = _Uses()
    visit(document, uses)
    return frozenset(uses.names)


def _spread_names(selections: SelectionSetNode, found: set[str], fragments: dict[str, Any]) -> None:
    for item in selections.selections:
        if isinstance(item, FragmentSpreadNode):
            name = item.name.value
            if name not in found:
                found.add(name)
                _spread_names(fragments[name].selection_set, found, fragments)
        elif isinstance(item, FieldNode | InlineFragmentNode) and item.selection_set is not None:
            _spread_names(item.selection_set, found, fragments)


def _check_uses(
    node: OperationDefinitionNode,
    fragments: dict[str, FragmentDefinitionNode],
    declared: dict[str, Variable],
    given: dict[str, Any],
) -> None:
    used = set(_used(node.selection_set))
    spread: set[str] = set()
    _spread_names(node.selection_set, spread, fragments)
    for name in spread:
        used |= _used(fragments[name].selection_set)
    for name in used:
        if name not in declared:
            raise failed(f'unbound variable "{name}"')
    extra = [name for name in given if name not in used]
    if extra:
        raise failed(f"unexpected variables in variableValues: {', '.join(extra)}")


def _check_spreads(
    selections: SelectionSetNode,
    fragments: dict[str, FragmentDefinitionNode],
    stack: tuple[str, ...],
    path: tuple[str, ...],
    done: set[str],
) -> None:
    """Raise QErr for undefined and cyclic fragments, with the path that the engine shows."""
    for item in selections.selections:
        if isinstance(item, FieldNode):
            if item.selection_set is not None:
                inner = (*path, item.name.value, "selectionSet")
                _check_spreads(item.selection_set, fragments, stack, inner, done)
        elif isinstance(item, InlineFragmentNode):
            _check_spreads(item.selection_set, fragments, stack, path, done)
        elif isinstance(item, FragmentSpreadNode):
            name = item.name.value
            if name in stack:
                cycle = [name, *reversed(stack[stack.index(name) + 1 :])]
                spelled = ", ".join(cycle[:-1])
                spelled = f"{spelled} and {cycle[-1]}" if spelled else cycle[-1]
                raise failed(f"the fragment definition(s) {spelled} form a cycle", json_path(*path))
            if name not in fragments:
                raise failed(f'reference to undefined fragment "{name}"', json_path(*path))
            if name not in done:
                inner = (*path, name, "selectionSet")
                _check_spreads(fragments[name].selection_set, fragments, (*stack, name), inner, done)
                done.add(name)


# The allow list: for every role but admin, only operations of the listed collections run. Documents are
# compared as syntax trees without `__typename`. A collection that is not listed globally counts in the
# Enterprise Edition only.


class _WithoutTypename(Visitor):
    def enter_field(self, node: FieldNode, *_: object) -> VisitorAction:
        return REMOVE if node.name.value == "__typename" else None


@lru_cache(maxsize=512)
def normalized(text: str) -> str:
    """Return a document in the form that is compared; empty if it asks for `__typename` alone."""
    try:
        document = visit(parse(text), _WithoutTypename())
    except GraphQLSyntaxError:
        return text
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    if all(not each.selection_set.selections for each in operations):
        return ""
    return print_ast(document)


def check_allowed(metadata: dict[str, Any], text: str) -> None:
    """Raise QErr unless the document is in a collection of the allow list."""
    listed = {
        entry["collection"]
        for entry in metadata.get("allowlist", [])
        if entry.get("scope", {"global": True}).get("global")
    }
    allowed = {
        normalized(query["query"])
        for collection in metadata.get("query_collections", [])
        if collection["name"] in listed
        for query in collection["definition"]["queries"]
    }
    if normalized(text) not in allowed | {""}:
        raise QErr("validation-failed", "query is not allowed")
