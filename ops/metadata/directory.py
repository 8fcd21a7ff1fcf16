"""Read a metadata directory (CLI config v3) as the JSON that an engine takes.

Facts: the layout that the CLI exports, https://hasura.io/docs/2.0/migrations-metadata-seeds/metadata-format/,
and the documentation of actions.
"""

from pathlib import Path
from typing import Any

import yaml

from ops.failures import WrongUsage

Json = dict[str, Any]

DIRECTORY = Path(__file__).resolve().parents[2] / "hasura" / "metadata"
"""The metadata of the integration."""

LISTS = ("cron_triggers", "query_collections", "rest_endpoints", "allowlist", "inherited_roles")
OBJECTS = ("api_limits", "graphql_schema_introspection", "opentelemetry")
UNUSED = ("remote_schemas", "backend_configs", "metrics_config", "network")
"""Files that the CLI always writes and that must be empty."""

FILES = {"allowlist": "allow_list.yaml"}
KNOWN = {FILES.get(name, f"{name}.yaml") for name in (*LISTS, *OBJECTS, *UNUSED, "version", "actions")}
KNOWN |= {"actions.graphql", "databases"}

INCLUDE = "!include "
ROOTS = {"Mutation": "mutation", "Query": "query"}
CUSTOM_TYPES = {
    "enum_type_definition": "enums",
    "input_object_type_definition": "input_objects",
    "object_type_definition": "objects",
    "scalar_type_definition": "scalars",
}
"""By the kind of a definition: the keys of `custom_types` in `actions.yaml`, in the CLI's order."""


class DirectoryError(WrongUsage):
    """A metadata directory cannot be read; the message names the file."""


def read_directory(directory: Path) -> Json:
    """Read the metadata of one directory; a missing file counts as empty. Raises DirectoryError."""
    if not directory.is_dir():
        raise DirectoryError(f"{directory}: the metadata directory does not exist")
    for entry in sorted(directory.iterdir()):
        if entry.name not in KNOWN and not entry.name.startswith("."):
            raise DirectoryError(f"{entry}: unknown file in a metadata directory")
    for name in UNUSED:
        if _optional(path := directory / f"{name}.yaml"):
            raise DirectoryError(f"{path}: must be empty: its content is not supported")
    return read_project(directory)


def read_project(directory: Path) -> Json:
    """Read the metadata directory of a customer without kinds that we do not use. Raises DirectoryError.

    An action or type that only one of its two files has is read too: a stopped merge may leave it.
    """
    version, databases = directory / "version.yaml", directory / "databases" / "databases.yaml"
    if load(version) != {"version": 3}:
        raise DirectoryError(f"{version}: version must be one of [3]")
    sources = _optional(databases) or []
    if not isinstance(sources, list):
        raise DirectoryError(f"{databases}: must be a list of sources")
    metadata: Json = {"version": 3, "sources": [_source(source, databases) for source in sources]}
    for name in (*LISTS, *OBJECTS):
        if content := _optional(directory / FILES.get(name, f"{name}.yaml")):
            metadata[name] = content
    actions, types = _read_actions(directory)
    if actions:
        metadata["actions"] = actions
    if defined := {kind: items for kind, items in types.items() if items}:
        metadata["custom_types"] = defined
    return metadata


def role_of_action(name: str, directory: Path = DIRECTORY) -> str:
    """Return the first role that may call an action. Raises DirectoryError."""
    path = directory / "actions.yaml"
    for action in load(path)["actions"]:
        if action["name"] == name and action.get("permissions"):
            return str(action["permissions"][0]["role"])
    raise DirectoryError(f"{path}: no role may call the action {name!r}")


def _optional(path: Path) -> Any:
    return load(path) if path.exists() else None


def _source(raw: Json, path: Path) -> Json:
    source = {"tables": [], **raw}
    for kind in ("tables", "functions"):
        if not isinstance(source.get(kind, []), list):
            raise DirectoryError(f"{path}: the {kind} of {raw['name']} are not a list")
    if not source.get("functions"):
        source.pop("functions", None)
    return source


def _read_actions(directory: Path) -> tuple[list[Json], dict[str, list[Json]]]:
    sdl = directory / "actions.graphql"
    signatures, types = read_sdl(sdl.read_text(encoding="utf-8") if sdl.exists() else "", str(sdl))
    content = _optional(directory / "actions.yaml") or {}
    listed = content.get("actions") or []
    actions = [_joined(action, signatures.get(action["name"], {"type": ""})) for action in listed]
    for kind, items in (content.get("custom_types") or {}).items():
        defined = {item["name"]: item for item in types[kind]}
        for item in items or []:
            if (name := item["name"]) not in defined:
                types[kind].append(defined.setdefault(name, {"name": name}))
            defined[name].update({k: v for k, v in item.items() if k not in ("fields", "values")})
    return actions, types


def _joined(action: Json, signature: Json) -> Json:
    definition = {**action["definition"], **signature}
    if signature["type"] == "query":
        definition.pop("kind", None)
    else:
        definition["kind"] = definition.get("kind") or "synchronous"
    return {**action, "definition": definition}


def read_sdl(text: str, where: str) -> tuple[dict[str, Json], dict[str, list[Json]]]:
    """Return the action signatures by name (`type`, `arguments`, `output_type`) and the custom types.

    Raises DirectoryError that names the file if it defines anything else.
    """
    # Only now: the help of `leads` imports every verb, and few need the library.
    from graphql import GraphQLSyntaxError
    from graphql import parse as parse_graphql

    signatures: dict[str, Json] = {}
    types: dict[str, list[Json]] = {kind: [] for kind in CUSTOM_TYPES.values()}
    if not text.strip():
        return signatures, types
    try:
        document = parse_graphql(text)
    except GraphQLSyntaxError as error:
        raise DirectoryError(f"{where}: {error}") from error
    node: Any
    for node in document.definitions:
        if has_actions(node):
            for field in node.fields or ():
                if field.name.value in signatures:
                    raise DirectoryError(f"{where}: the action {field.name.value!r} is defined twice")
                signatures[field.name.value] = _signature(field, ROOTS[node.name.value])
        elif node.kind in CUSTOM_TYPES:
            types[CUSTOM_TYPES[node.kind]].append(_custom_type(node))
        else:
            raise DirectoryError(f"{where}: {node.kind} is neither an action nor a custom type")
    return signatures, types


def has_actions(node: Any) -> bool:
    """Whether a definition is of actions: it defines or extends a root type."""
    return node.kind in ("object_type_definition", "object_type_extension") and node.name.value in ROOTS


def _signature(field: Any, kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "arguments": [_field(argument) for argument in field.arguments or ()],
        "output_type": _type(field),
    }


def _field(node: Any) -> dict[str, Any]:
    return {"name": node.name.value, "type": _type(node)} | _description(node)


def _type(node: Any) -> str:
    from graphql import print_ast

    return print_ast(node.type)


def _description(node: Any) -> dict[str, Any]:
    return {"description": node.description.value} if node.description else {}


def _custom_type(node: Any) -> Json:
    described = {"name": node.name.value} | _description(node)
    if node.kind == "enum_type_definition":
        described["values"] = [{"value": each.name.value} | _description(each) for each in node.values or ()]
    elif node.kind != "scalar_type_definition":
        described["fields"] = [_field(field) for field in node.fields or ()]
    return described


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


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader that refuses duplicate keys and reads dates as strings, as JSON has them.

    With libyaml, where PyYAML was built with it, it is about ten times as fast.
    """


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    result: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in result:
            said = f"key {key!r} is given twice"
            raise yaml.constructor.ConstructorError(problem=said, problem_mark=key_node.start_mark)
        result[key] = loader.construct_object(value_node, deep=True)
    return result


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))
