"""GraphQL as the CLI prints it: stored queries (gqlparser 2.4) and the signatures in `actions.graphql`.

A construct that our metadata does not use is refused, because its printed form was never seen.
"""

import json
from collections.abc import Sequence

from graphql import (
    ArgumentNode,
    BooleanValueNode,
    DefinitionNode,
    FieldDefinitionNode,
    FieldNode,
    InputObjectTypeDefinitionNode,
    InputValueDefinitionNode,
    ListValueNode,
    Node,
    ObjectFieldNode,
    ObjectTypeDefinitionNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    ValueNode,
    VariableDefinitionNode,
    parse,
    print_ast,
)

ROOTS = ("Query", "Mutation")
INDENT = "  "


class UnknownForm(Exception):
    """The form in which the CLI writes this is not known; the message names it."""


def format_query(text: str) -> str:
    """Return one operation in the CLI's form. Raises UnknownForm."""
    (operation,) = parse(text).definitions
    if not isinstance(operation, OperationDefinitionNode) or operation.name is None:
        raise UnknownForm(f"a stored query must be one operation with a name, not {operation.kind}")
    head = f"{operation.operation.value} {operation.name.value}"
    if operation.variable_definitions:
        head += f" ({', '.join(map(_variable, operation.variable_definitions))})"
    return f"{head} {{\n{_selections(operation.selection_set, INDENT)}}}\n"


def _variable(node: VariableDefinitionNode) -> str:
    default = f" = {_value(node.default_value)}" if node.default_value else ""
    return f"${node.variable.name.value}: {print_ast(node.type)}{default}"


def _selections(selections: SelectionSetNode, indent: str) -> str:
    return "".join(_field(node, indent) for node in selections.selections)


def _field(node: Node, indent: str) -> str:
    if not isinstance(node, FieldNode) or node.directives:
        raise UnknownForm(f"{print_ast(node)}: fragments and directives are not in use")
    alias = f"{node.alias.value}: " if node.alias else ""
    line = f"{indent}{alias}{node.name.value}{_arguments(node.arguments)}"
    if node.selection_set is None:
        return f"{line}\n"
    return f"{line} {{\n{_selections(node.selection_set, indent + INDENT)}{indent}}}\n"


def _arguments(nodes: Sequence[ArgumentNode] | None) -> str:
    listed = ", ".join(f"{node.name.value}: {_value(node.value)}" for node in nodes or ())
    return f"({listed})" if listed else ""


def _value(node: ValueNode) -> str:
    if isinstance(node, ObjectValueNode):
        return "{" + ",".join(map(_object_field, node.fields)) + "}"
    if isinstance(node, ListValueNode):
        return "[" + ",".join(map(_value, node.values)) + "]"
    if isinstance(node, StringValueNode):
        return json.dumps(node.value, ensure_ascii=False)
    if isinstance(node, BooleanValueNode):
        return "true" if node.value else "false"
    return print_ast(node)


def _object_field(node: ObjectFieldNode) -> str:
    return f"{node.name.value}:{_value(node.value)}"


def format_signatures(text: str) -> str:
    """Return `actions.graphql` in the CLI's form. Raises UnknownForm.

    Actions are sorted, each in a `type` of its own; inputs and objects keep their order.
    """
    actions: dict[str, str] = {}
    kinds: dict[str, list[str]] = {"input": [], "type": []}
    for node in parse(text).definitions if text.strip() else ():
        if isinstance(node, ObjectTypeDefinitionNode) and node.name.value in ROOTS:
            for field in node.fields or ():
                actions[field.name.value] = f"type {node.name.value} {{\n{_action(field)}}}\n"
        else:
            kind, name, fields = _custom_type(node)
            lines = "".join(f"{INDENT}{_typed(field)}\n" for field in fields)
            kinds[kind].append(f"{kind} {name} {{\n{lines}}}\n")
    blocks = [*(block for _, block in sorted(actions.items())), *kinds["input"], *kinds["type"]]
    return "".join(f"{block}\n" for block in blocks)


def _custom_type(
    node: DefinitionNode,
) -> tuple[str, str, Sequence[InputValueDefinitionNode | FieldDefinitionNode]]:
    if isinstance(node, InputObjectTypeDefinitionNode) and not node.description:
        return "input", node.name.value, node.fields or ()
    if isinstance(node, ObjectTypeDefinitionNode) and not node.description:
        return "type", node.name.value, node.fields or ()
    raise UnknownForm(f"actions.graphql: {node.kind} with descriptions, enums and scalars are not in use")


def _action(field: FieldDefinitionNode) -> str:
    if not field.arguments:
        return f"{INDENT}{_typed(field)}\n"
    arguments = "".join(f"{INDENT * 2}{_typed(argument)}\n" for argument in field.arguments)
    return f"{INDENT}{field.name.value}(\n{arguments}{INDENT}): {print_ast(field.type)}\n"


def _typed(node: InputValueDefinitionNode | FieldDefinitionNode) -> str:
    if node.description or node.directives or getattr(node, "default_value", None):
        raise UnknownForm(f"actions.graphql: {node.name.value}: descriptions and defaults are not in use")
    return f"{node.name.value}: {print_ast(node.type)}"
