"""Whether the declared type of a variable allows its use. Facts: schema-parsers `TypeChecking`."""

from typing import Any

from graphql import (
    GraphQLList,
    GraphQLNonNull,
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    NullValueNode,
    TypeNode,
)

from graphql_engine.graphql.document.operation import Variable


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
