"""Read a metadata directory into the JSON that the engine works on.

An unknown file, an unknown key, or an unsupported key stops the start; the message names file and key.
Facts: documentation of actions and the CLI's metadata format.
"""

from pathlib import Path
from typing import Any

import yaml
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

from graphql_engine.metadata.access import Json
from graphql_engine.metadata.shape import SHAPES, check
from graphql_engine.settings import StartError

INCLUDE = "!include "
ROOTS = {"Mutation": "mutation", "Query": "query"}
LISTS = ("cron_triggers", "query_collections", "rest_endpoints", "allowlist", "inherited_roles")
OBJECTS = ("api_limits", "graphql_schema_introspection", "opentelemetry")
UNUSED = ("remote_schemas", "backend_configs", "metrics_config", "network")
"""Files that the CLI always writes and that must be empty."""
FILES = {"allowlist": "allow_list.yaml"}
KNOWN = {FILES.get(name, f"{name}.yaml") for name in (*LISTS, *OBJECTS, *UNUSED, "version", "actions")}
KNOWN |= {"actions.graphql", "databases"}


def load(path: Path) -> Any:
    """Return the content of a YAML file; strings that begin with `!include ` are replaced by that file.

    Paths are relative to the including file. Raises StartError naming the file that cannot be read.
    """
    return _resolve(parse_yaml(path), path)


def parse_yaml(path: Path) -> Any:
    """Return the content of one YAML file without following includes."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)  # noqa: S506
    except OSError as error:
        raise StartError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise StartError(f"{path}: not valid YAML: {error}") from error


def _resolve(value: Any, path: Path) -> Any:
    if isinstance(value, str) and value.startswith(INCLUDE):
        return load(path.parent / value[len(INCLUDE) :].strip())
    if isinstance(value, list):
        return [_resolve(item, path) for item in value]
    if isinstance(value, dict):
        return {key: _resolve(item, path) for key, item in value.items()}
    return value


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses duplicate keys and leaves dates as strings, as in JSON."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    result: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in result:
            raise StartError(f"{loader.name}: key {key!r} is given twice, {key_node.start_mark}")
        result[key] = loader.construct_object(value_node, deep=True)
    return result


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))


def read_sdl(text: str, where: str) -> tuple[dict[str, dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Return action signatures by name (`type`, `arguments`, `output_type`) and the custom types.

    Raises StartError naming the file for a definition that is neither an action nor a custom type.
    """
    signatures: dict[str, dict[str, Any]] = {}
    types: dict[str, list[dict[str, Any]]] = {"enums": [], "input_objects": [], "objects": [], "scalars": []}
    if not text.strip():
        return signatures, types
    try:
        document = parse(text)
    except GraphQLSyntaxError as error:
        raise StartError(f"{where}: {error}") from error
    for node in document.definitions:
        if isinstance(node, ObjectTypeDefinitionNode | ObjectTypeExtensionNode) and node.name.value in ROOTS:
            for field in node.fields or ():
                if field.name.value in signatures:
                    raise StartError(f"{where}: the action {field.name.value!r} is defined twice")
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
    raise StartError(f"{where}: {node.kind} is neither an action nor a custom type")


def empty_metadata() -> dict[str, Any]:
    return {"version": 3, "sources": []}


def read_directory(directory: Path) -> Json:
    """Read one directory; a missing file counts as empty. Raises StartError."""
    if not directory.is_dir():
        raise StartError(f"{directory}: no such metadata directory")
    for entry in sorted(directory.iterdir()):
        if entry.name not in KNOWN and not entry.name.startswith("."):
            raise StartError(f"{entry}: unknown file in a metadata directory")
    return _Reader(directory).read()


class _Reader:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self) -> Json:
        version = self._directory / "version.yaml"
        if load(version) != {"version": 3}:
            raise StartError(f"{version}: version must be one of [3]")
        metadata: Json = {"version": 3, "sources": self._sources()}
        for name in (*LISTS, *OBJECTS):
            if content := self._optional(self._directory / FILES.get(name, f"{name}.yaml"), name):
                metadata[name] = content
        for name in UNUSED:
            path = self._directory / f"{name}.yaml"
            if path.exists() and load(path):
                raise StartError(f"{path}: must be empty, its content is not supported")
        actions, types = self._actions()
        if actions:
            metadata["actions"] = actions
        if any(types.values()):
            metadata["custom_types"] = {kind: defined for kind, defined in types.items() if defined}
        return metadata

    def _optional(self, path: Path, kind: str) -> Any:
        content = load(path) if path.exists() else None
        if content is not None:
            check(content, SHAPES[kind], str(path))
        return content

    def _sources(self) -> list[Json]:
        path = self._directory / "databases" / "databases.yaml"
        if not path.exists():
            return []
        raw = parse_yaml(path) or []
        if not isinstance(raw, list):
            raise StartError(f"{path}: must be a list of sources")
        return [self._source(source, path) for source in raw]

    def _source(self, raw: Any, path: Path) -> Json:
        outline = {key: [] if key in ("tables", "functions") else value for key, value in dict(raw).items()}
        check(outline, SHAPES["source"], str(path))
        source = dict(raw)
        source["tables"] = self._items(raw.get("tables", []), path, "table")
        if functions := self._items(raw.get("functions", []), path, "function"):
            source["functions"] = functions
        else:
            source.pop("functions", None)
        return source

    def _items(self, value: Any, path: Path, kind: str) -> list[Any]:
        """Return a list given in place or by includes; errors of an item name its own file."""
        if isinstance(value, str) and value.startswith(INCLUDE):
            path = path.parent / value[len(INCLUDE) :].strip()
            value = parse_yaml(path) or []
        if not isinstance(value, list):
            raise StartError(f"{path}: must be a list")
        items = []
        for item in value:
            item_path = path
            if isinstance(item, str) and item.startswith(INCLUDE):
                item_path = path.parent / item[len(INCLUDE) :].strip()
                item = load(item_path)
            check(item, SHAPES[kind], str(item_path))
            items.append(item)
        return items

    def _actions(self) -> tuple[list[Json], dict[str, list[Json]]]:
        sdl_path, path = self._directory / "actions.graphql", self._directory / "actions.yaml"
        sdl = sdl_path.read_text(encoding="utf-8") if sdl_path.exists() else ""
        signatures, types = read_sdl(sdl, str(sdl_path))
        content = self._optional(path, "actions_file") or {}
        actions = []
        for action in content.get("actions") or []:
            if action["name"] not in signatures:
                raise StartError(f"{path}: the action {action['name']!r} has no signature in {sdl_path}")
            actions.append(_joined(action, signatures.pop(action["name"])))
        if signatures:
            raise StartError(f"{sdl_path}: the action {next(iter(signatures))!r} is not in {path}")
        _merge_types(types, content.get("custom_types") or {}, path)
        return actions, types


def _joined(action: Json, signature: Json) -> Json:
    definition = {**action["definition"], **signature}
    if signature["type"] == "query":
        definition.pop("kind", None)
    else:
        definition["kind"] = definition.get("kind") or "synchronous"
    return {**action, "definition": definition}


def _merge_types(types: dict[str, list[Json]], extra: dict[str, list[Json]], path: Path) -> None:
    for kind, items in extra.items():
        by_name = {item["name"]: item for item in types[kind]}
        for item in items or []:
            if item["name"] not in by_name:
                raise StartError(f"{path}: custom_types.{kind}: {item['name']!r} is not in actions.graphql")
            by_name[item["name"]].update({k: v for k, v in item.items() if k not in ("fields", "values")})
