"""Check or write the form of `hasura/metadata`: that in which `hasura metadata export` writes it.

    python -m scripts.metadata_form [--fix] [DIR]

Exit code 1: a file is not in that form (without --fix), or has something of which the form is not known. Each
file is named.

Facts: what the CLI (v2, config v3) exported from an engine with our metadata; engine and CLI of January 2026
(v2.48.10). Stored queries and `actions.graphql` are printed as by gqlparser 2.4; a construct that our
metadata does not use is refused, because its printed form was never seen.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
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

from ops.metadata.directory import DIRECTORY, INCLUDE, DirectoryError
from ops.metadata.directory import parse as parse_yaml

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

    Actions are sorted, each in a separate `type`; inputs and objects keep their order.
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


PERMISSIONS = ("insert_permissions", "select_permissions", "update_permissions", "delete_permissions")
RELATIONSHIPS = ("object_relationships", "array_relationships", "computed_fields", "remote_relationships")
TRANSFORMS = ("request_transform", "response_transform")

KEYS: dict[str, tuple[str, ...]] = {
    "databases": ("name", "kind", "configuration", "tables", "functions"),
    "table": ("table", "is_enum", "configuration", *RELATIONSHIPS, *PERMISSIONS, "event_triggers"),
    **dict.fromkeys(PERMISSIONS, ("role", "permission", "comment")),
    "permission": (
        "check", "set", "columns", "computed_fields", "backend_only", "filter", "limit", "allow_aggregations",
        "query_root_fields", "subscription_root_fields",
    ),
    "update permission": ("columns", "filter", "check", "set", "backend_only"),
    "event_triggers": (
        "name", "definition", "retry_conf", "webhook", "webhook_from_env", "headers", *TRANSFORMS,
        "cleanup_config",
    ),
    "cron_triggers": (
        "name", "webhook", "schedule", "include_in_metadata", "payload", "retry_conf", "headers", "comment",
        *TRANSFORMS,
    ),
    "actions": ("name", "definition", "permissions", "comment"),
    "action definition": ("kind", "handler", "forward_client_headers", "headers", "timeout", *TRANSFORMS),
    "query_collections": ("name", "definition"),
}  # fmt: skip
"""Keys in their order, by the kind of object."""

SORTED = {
    **dict.fromkeys((*PERMISSIONS, "permissions"), "role"),
    **dict.fromkeys(
        (*RELATIONSHIPS, "event_triggers", "actions", "cron_triggers", "query_collections"), "name"
    ),
    "rest_endpoints": "url",
    "allow_list": "collection",
    "inherited_roles": "role_name",
}
"""Key by which a list is sorted."""

CRON_RETRY = {
    "num_retries": 0,
    "retry_interval_seconds": 10,
    "timeout_seconds": 60,
    "tolerance_seconds": 21600,
}


def ordered(value: Any, kind: str) -> Any:
    """Return a value with its keys and lists in the CLI's order."""
    if isinstance(value, list):
        items = [ordered(item, kind) for item in value]
        if kind in SORTED and all(isinstance(item, dict) for item in items):
            items.sort(key=lambda item: str(item[SORTED[kind]]))
        return sorted(items) if kind == "tables" else items
    if isinstance(value, dict):
        known = KEYS.get(kind, ())
        names = sorted(value, key=lambda name: (known.index(name) if name in known else len(known), name))
        kept = {name: ordered(value[name], _kind(name, kind)) for name in names}
        return {name: item for name, item in kept.items() if not _is_left_out(kind, name, item)}
    return value


def _kind(name: str, parent: str) -> str:
    if name == "definition" and parent == "actions":
        return "action definition"
    if name == "permission" and parent == "update_permissions":
        return "update permission"
    return name if name in KEYS or name in SORTED else f"{parent} {name}"


def _is_left_out(kind: str, name: str, item: Any) -> bool:
    if kind == "action definition":
        return item is False or item == [] or (name == "timeout" and item == 30)
    if kind == "cron_triggers":
        return (name == "retry_conf" and item == CRON_RETRY) or (name == "headers" and item == [])
    if kind == "query_collections":
        return name == "comment"
    return kind in ("table", "permission", "update permission", "event_triggers") and (
        item is False or item == []
    )


INDICATOR = "tag:yaml.org,2002:yaml"
"""What PyYAML takes `*`, `&` and `!` alone for."""


def formatted_files(directory: Path) -> dict[Path, str]:
    """Return the text that each file should have. Raises UnknownForm."""
    paths = [*directory.glob("*.yaml"), *directory.glob("*.graphql"), *directory.glob("databases/**/*.yaml")]
    return {path: format_file(path) for path in sorted(paths)}


def format_file(path: Path) -> str:
    """Return the text that one file should have. Raises UnknownForm."""
    if path.suffix == ".graphql":
        return format_signatures(path.read_text("utf-8"))
    try:
        content = parse_yaml(path)
    except DirectoryError as error:
        raise UnknownForm(str(error)) from error
    if path.name == "query_collections.yaml":
        for collection in content:
            for query in collection["definition"]["queries"]:
                query["query"] = format_query(query["query"])
    kind = path.stem if path.parent.name != "tables" or path.stem == "tables" else "table"
    return dump(ordered(content, kind) if kind != "actions" else _actions(content))


def dump(content: Any) -> str:
    """Return YAML as the CLI's library (yaml.v3 for Go) writes it."""
    return yaml.dump(
        content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"),
        default_flow_style=False,
    )  # fmt: skip


def _actions(content: Any) -> Any:
    """Keep the order of the custom types, which is that of `actions.graphql`."""
    return {
        "actions": ordered(content["actions"], "actions"),
        "custom_types": {
            kind: [ordered(item, "custom_types") for item in items]
            for kind, items in sorted(content["custom_types"].items())
        },
    }


class _Dumper(yaml.SafeDumper):
    """Lists are indented, texts of several lines are literal, what reads as another type is in `"`."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    tag = "tag:yaml.org,2002:str"
    if "\n" in text:
        return dumper.represent_scalar(tag, text, style="|")
    read_as = dumper.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    quoted = read_as not in (tag, INDICATOR) or text in ("y", "Y", "n", "N") or text.startswith(INCLUDE)
    return dumper.represent_scalar(tag, text, style='"' if quoted else None)


_Dumper.add_representer(str, _string)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.metadata_form")
    parser.add_argument("--fix", action="store_true", help="write the files that differ")
    parser.add_argument("directory", nargs="?", type=Path, default=DIRECTORY)
    chosen = parser.parse_args()
    try:
        files = formatted_files(chosen.directory)
    except UnknownForm as error:
        print(error, file=sys.stderr)
        return 1
    different = {path: text for path, text in files.items() if path.read_text("utf-8") != text}
    for path, text in different.items():
        if chosen.fix:
            path.write_text(text, "utf-8")
        else:
            print(f"{path}: not in the form of `hasura metadata export`. Run: scripts/check --fix")
    return 1 if different and not chosen.fix else 0


if __name__ == "__main__":
    sys.exit(main())
