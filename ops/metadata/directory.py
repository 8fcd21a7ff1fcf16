"""Read a metadata directory (CLI config v3) as the JSON that an engine takes.

Facts: the layout that the CLI exports, https://hasura.io/docs/2.0/migrations-metadata-seeds/metadata-format/,
and the documentation of actions.
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
    print_ast,
)
from graphql import (
    parse as parse_graphql,
)

from ops.metadata.pieces import Json

DIRECTORY = Path(__file__).resolve().parents[2] / "hasura" / "metadata"
"""The metadata of the integration."""

LISTS = ("cron_triggers", "query_collections", "rest_endpoints", "allowlist", "inherited_roles")
OBJECTS = ("api_limits", "graphql_schema_introspection")
UNUSED = ("remote_schemas", "backend_configs", "metrics_config", "network", "opentelemetry")
"""Files that the CLI always writes and that must be empty."""

FILES = {"allowlist": "allow_list.yaml"}
KNOWN = {FILES.get(name, f"{name}.yaml") for name in (*LISTS, *OBJECTS, *UNUSED, "version", "actions")}
KNOWN |= {"actions.graphql", "databases"}

INCLUDE = "!include "
ROOTS = {"Mutation": "mutation", "Query": "query"}


class DirectoryError(Exception):
    """A metadata directory cannot be read; the message names the file."""


def read_directory(directory: Path) -> Json:
    """Read the metadata of one directory; a missing file counts as empty. Raises DirectoryError."""
    if not directory.is_dir():
        raise DirectoryError(f"{directory}: the metadata directory does not exist")
    for entry in sorted(directory.iterdir()):
        if entry.name not in KNOWN and not entry.name.startswith("."):
            raise DirectoryError(f"{entry}: unknown file in a metadata directory")
    return _Reader(directory).read()


def read_project(directory: Path) -> Json:
    """Read the metadata directory of a customer without kinds that we do not use. Raises DirectoryError.

    An action or type that only one of its two files has is read too: a stopped merge may leave it.
    """
    return _Reader(directory, others=True).read()


def role_of_action(name: str, directory: Path = DIRECTORY) -> str:
    """Return the first role that may call an action. Raises DirectoryError."""
    path = directory / "actions.yaml"
    for action in load(path)["actions"]:
        if action["name"] == name and action.get("permissions"):
            return str(action["permissions"][0]["role"])
    raise DirectoryError(f"{path}: no role may call the action {name!r}")


class _Reader:
    def __init__(self, directory: Path, *, others: bool = False) -> None:
        self._directory = directory
        self._others = others

    def read(self) -> Json:
        version = self._directory / "version.yaml"
        if load(version) != {"version": 3}:
            raise DirectoryError(f"{version}: version must be one of [3]")
        metadata: Json = {"version": 3, "sources": self._sources()}
        for name in (*LISTS, *OBJECTS):
            if content := _optional(self._directory / FILES.get(name, f"{name}.yaml")):
                metadata[name] = content
        for name in () if self._others else UNUSED:
            path = self._directory / f"{name}.yaml"
            if path.exists() and load(path):
                raise DirectoryError(f"{path}: must be empty: its content is not supported")
        actions, types = self._actions()
        if actions:
            metadata["actions"] = actions
        if any(types.values()):
            metadata["custom_types"] = {kind: defined for kind, defined in types.items() if defined}
        return metadata

    def _sources(self) -> list[Json]:
        path = self._directory / "databases" / "databases.yaml"
        if not path.exists():
            return []
        raw = parse(path) or []
        if not isinstance(raw, list):
            raise DirectoryError(f"{path}: must be a list of sources")
        return [_source(source, path) for source in raw]

    def _actions(self) -> tuple[list[Json], dict[str, list[Json]]]:
        sdl_path, path = self._directory / "actions.graphql", self._directory / "actions.yaml"
        sdl = sdl_path.read_text(encoding="utf-8") if sdl_path.exists() else ""
        signatures, types = read_sdl(sdl, str(sdl_path))
        content = _optional(path) or {}
        actions = []
        for action in content.get("actions") or []:
            if action["name"] not in signatures and not self._others:
                raise DirectoryError(f"{path}: the action {action['name']!r} has no signature in {sdl_path}")
            actions.append(_joined(action, signatures.pop(action["name"], {"type": ""})))
        if signatures and not self._others:
            raise DirectoryError(f"{sdl_path}: the action {next(iter(signatures))!r} is not in {path}")
        extra = content.get("custom_types") or {}
        if self._others:
            _add_types(types, extra)
        _merge_types(types, extra, path)
        return actions, types


def _optional(path: Path) -> Any:
    return load(path) if path.exists() else None


def _source(raw: Any, path: Path) -> Json:
    source = dict(raw)
    source["tables"] = _items(raw.get("tables", []), path)
    if functions := _items(raw.get("functions", []), path):
        source["functions"] = functions
    else:
        source.pop("functions", None)
    return source


def _items(value: Any, path: Path) -> list[Any]:
    """Return a list that is given inline or by includes."""
    if isinstance(value, str) and value.startswith(INCLUDE):
        path = path.parent / value[len(INCLUDE) :].strip()
        value = parse(path) or []
    if not isinstance(value, list):
        raise DirectoryError(f"{path}: must be a list")
    return [
        load(path.parent / item[len(INCLUDE) :].strip())
        if isinstance(item, str) and item.startswith(INCLUDE)
        else item
        for item in value
    ]


def _joined(action: Json, signature: Json) -> Json:
    definition = {**action["definition"], **signature}
    if signature["type"] == "query":
        definition.pop("kind", None)
    else:
        definition["kind"] = definition.get("kind") or "synchronous"
    return {**action, "definition": definition}


def _add_types(types: dict[str, list[Json]], extra: dict[str, list[Json]]) -> None:
    """Add the types that only `actions.yaml` has."""
    for kind, items in extra.items():
        names = {item["name"] for item in types[kind]}
        types[kind] += [{"name": item["name"]} for item in items or [] if item["name"] not in names]


def _merge_types(types: dict[str, list[Json]], extra: dict[str, list[Json]], path: Path) -> None:
    for kind, items in extra.items():
        by_name = {item["name"]: item for item in types[kind]}
        for item in items or []:
            if item["name"] not in by_name:
                raise DirectoryError(
                    f"{path}: custom_types.{kind}: {item['name']!r} is not in actions.graphql"
                )
            by_name[item["name"]].update({k: v for k, v in item.items() if k not in ("fields", "values")})


def read_sdl(text: str, where: str) -> tuple[dict[str, dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Return the action signatures by name (`type`, `arguments`, `output_type`) and the custom types.

    Raises DirectoryError that names the file if it defines anything else.
    """
    signatures: dict[str, dict[str, Any]] = {}
    types: dict[str, list[dict[str, Any]]] = {"enums": [], "input_objects": [], "objects": [], "scalars": []}
    if not text.strip():
        return signatures, types
    try:
        document = parse_graphql(text)
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


def load(path: Path) -> Any:
    """Load a YAML file; a string that begins with `!include ` is replaced by the file that it names.

    Paths are relative to the file that includes. Raises DirectoryError naming the file that cannot be read.
    """
    return _resolve(parse(path), path)


def parse(path: Path) -> Any:
    """Load one YAML file without its includes."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)  # noqa: S506
    except OSError as error:
        raise DirectoryError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise DirectoryError(f"{path}: not valid YAML: {error}") from error


def _resolve(value: Any, path: Path) -> Any:
    if isinstance(value, str) and value.startswith(INCLUDE):
        return load(path.parent / value[len(INCLUDE) :].strip())
    if isinstance(value, list):
        return [_resolve(item, path) for item in value]
    if isinstance(value, dict):
        return {key: _resolve(item, path) for key, item in value.items()}
    return value


_FastLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""That of libyaml, about ten times as fast, where PyYAML was built with it."""


class _StrictLoader(_FastLoader):  # type: ignore[misc, valid-type]
    """A safe loader that refuses duplicate keys and reads dates as strings, as JSON has them."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    result: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in result:
            raise DirectoryError(f"key {key!r} is given twice, {key_node.start_mark}")
        result[key] = loader.construct_object(value_node, deep=True)
    return result


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))
