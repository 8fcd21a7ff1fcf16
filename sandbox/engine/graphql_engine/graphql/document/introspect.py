"""Answer `__schema` and `__type` with graphql-core over the role's schema."""

from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLSchema,
    MaxIntrospectionDepthRule,
    OperationType,
    SelectionSetNode,
    execute,
    validate,
)

from graphql_engine.graphql.document.operation import Json, Operation, failed
from graphql_engine.graphql.document.selection import Sel
from graphql_engine.graphql.document.values import Reader
from graphql_engine.rawjson import Raw, dumps

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
