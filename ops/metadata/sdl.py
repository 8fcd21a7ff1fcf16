"""`actions.graphql`: signatures of actions and custom types, as the JSON of the metadata.

Facts: documentation of actions and the CLI's metadata format.
"""

from typing import Any

from graphql import (
    DefinitionNode,
    EnumTypeDefinitionNode,
    FieldDefinitionNode,
    GraphQLSyntaxError,
    InputObjectTypeDefinitionNode,
    InputValueDefinitionNode,
    ObjectTypeDefinitionNode,
    ObjectTypeExtensionNode,
    ScalarTypeDefinitionNode,
    parse,
    print_ast,
)

from ops.metadata.yaml_files import DirectoryError

ROOTS = {"Mutation": "mutation", "Query": "query"}


def read_sdl(text: str, where: str) -> tuple[dict[str, dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Return the action signatures by name (`type`, `arguments`, `output_type`) and the custom types.

    Raises DirectoryError that names the file if it defines anything else.
    """
    signatures: dict[str, dict[str, Any]] = {}
    types: dict[str, list[dict[str, Any]]] = {"enums": [], "input_objects": [], "objects": [], "scalars": []}
    if not text.strip():
        return signatures, types
    try:
        document = parse(text)
    except GraphQLSyntaxError as error:
        raise DirectoryError(f"{where}: {error}") from error
    for node in document.definitions:
        if isinstance(node, ObjectTypeDefinitionNode | ObjectTypeExtensionNode) and node.name.value in ROOTS:
            for field in node.fields or ():
                if field.name.value in signatures:
                    raise DirectoryError(f"{where}: the action {field.name.value!r} is defined twice")
                signatures[field.name.value] = _signature(field, ROOTS[node.name.value])
        else:
            kind, described = _custom_type(node, where)
            types[kind].append(described)
    return signatures, types


def _signature(field: FieldDefinitionNode, kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "arguments": [_field(argument) for argument in field.arguments or ()],
        "output_type": print_ast(field.type),
    }


def _field(node: InputValueDefinitionNode | FieldDefinitionNode) -> dict[str, Any]:
    return {"name": node.name.value, "type": print_ast(node.type)} | _description(node)


def _description(node: Any) -> dict[str, Any]:
    return {"description": node.description.value} if node.description else {}


def _custom_type(node: DefinitionNode, where: str) -> tuple[str, dict[str, Any]]:
    if isinstance(node, ScalarTypeDefinitionNode):
        return "scalars", {"name": node.name.value} | _description(node)
    if isinstance(node, EnumTypeDefinitionNode):
        values = [{"value": value.name.value} | _description(value) for value in node.values or ()]
        return "enums", {"name": node.name.value, "values": values} | _description(node)
    if isinstance(node, InputObjectTypeDefinitionNode):
        fields = [_field(field) for field in node.fields or ()]
        return "input_objects", {"name": node.name.value, "fields": fields} | _description(node)
    if isinstance(node, ObjectTypeDefinitionNode):
        output = [_field(field) for field in node.fields or ()]
        return "objects", {"name": node.name.value, "fields": output} | _description(node)
    raise DirectoryError(f"{where}: {node.kind} is neither an action nor a custom type")
