"""`__schema` and `__type`, answered by graphql-core over the role's schema."""

from typing import Any

from graphql import DocumentNode, ExecutionResult, GraphQLSchema, OperationType, SelectionSetNode, execute

from sandbox.hasura.graphql.document import Json, Operation, failed
from sandbox.hasura.graphql.selection import Sel
from sandbox.hasura.graphql.values import Reader


def introspect(schema: GraphQLSchema, operation: Operation, sel: Sel) -> Any:
    """The value of an introspection field. Raises QErr."""
    node = operation.node
    only = type(node)(
        operation=OperationType.QUERY,
        name=None,
        directives=(),
        variable_definitions=node.variable_definitions,
        selection_set=SelectionSetNode(selections=tuple(sel.nodes)),
    )
    reader = Reader(operation.variables)
    values = {
        name: reader.to_json(variable.value)
        for name, variable in operation.variables.items()
        if isinstance(variable.value, Json)
    }
    document = DocumentNode(definitions=(only, *operation.fragments.values()))
    result = execute(schema, document, variable_values=values)
    assert isinstance(result, ExecutionResult)
    if result.errors:
        raise failed(result.errors[0].message)
    return (result.data or {}).get(sel.alias)
