"""Reads a metadata directory (CLI config v3) strictly into the JSON that the engine works on.

An unknown file, an unknown key, or one that this stand-in does not support stops the start with a message
that names file and key.
"""

from pathlib import Path
from typing import Any

from sandbox.hasura.metadata import files, keys
from sandbox.hasura.metadata.merge import merge
from sandbox.hasura.metadata.sdl import read_sdl
from sandbox.hasura.metadata.shape import ANY, OneOf, Shape, Unsupported, check
from sandbox.hasura.settings import StartError

LISTS: dict[str, Shape] = {
    "cron_triggers": [keys.CRON_TRIGGER],
    "query_collections": [keys.COLLECTION],
    "rest_endpoints": [keys.ENDPOINT],
    "allowlist": [{"collection!": str, "scope": ANY}],
    "inherited_roles": [{"role_name!": str, "role_set!": [str], "comment": keys.TEXT_OR_NONE}],
}
OBJECTS: dict[str, Shape] = {
    "api_limits": keys.API_LIMITS,
    "graphql_schema_introspection": {"disabled_for_roles!": [str]},
}
REFUSED = ("remote_schemas",)
REFUSED_OBJECTS = ("backend_configs", "metrics_config", "network", "opentelemetry")
FILES = {"allowlist": "allow_list.yaml"}
KNOWN = {
    FILES.get(name, f"{name}.yaml")
    for name in (*LISTS, *OBJECTS, *REFUSED, *REFUSED_OBJECTS, "version", "actions")
}
KNOWN |= {"actions.graphql", "databases"}


def empty_metadata() -> dict[str, Any]:
    """Metadata that says nothing."""
    return {"version": 3, "sources": []}


def read_directories(directories: list[Path]) -> dict[str, Any]:
    """The metadata of several directories merged; raises StartError if two say different things."""
    merged = empty_metadata()
    for directory in directories:
        merged = merge(merged, read_directory(directory), str(directory))
    return merged


def read_directory(directory: Path) -> dict[str, Any]:
    """The metadata of one directory; a missing file counts as empty."""
    if not directory.is_dir():
        raise StartError(f"{directory}: there is no such metadata directory")
    for entry in sorted(directory.iterdir()):
        if entry.name not in KNOWN and not entry.name.startswith("."):
            raise StartError(f"{entry}: unknown file in a metadata directory")
    _check_version(directory / "version.yaml")
    metadata: dict[str, Any] = {"version": 3, "sources": _sources(directory)}
    for name, shape in LISTS.items():
        if items := _optional(directory / FILES.get(name, f"{name}.yaml"), shape, []):
            metadata[name] = items
    for name, shape in OBJECTS.items():
        if content := _optional(directory / f"{name}.yaml", shape, {}):
            metadata[name] = content
    for name in REFUSED + REFUSED_OBJECTS:
        _optional(directory / f"{name}.yaml", Unsupported(), None)
    actions, types = _actions(directory)
    if actions:
        metadata["actions"] = actions
    if any(types.values()):
        metadata["custom_types"] = {kind: defined for kind, defined in types.items() if defined}
    return metadata


def _check_version(path: Path) -> None:
    content = files.load(path)
    check(content, {"version!": OneOf((3,))}, str(path))


def _optional(path: Path, shape: Shape, default: Any) -> Any:
    if not path.exists():
        return default
    content = files.load(path)
    if content is None:
        return default
    check(content, shape, str(path))
    return content


def _sources(directory: Path) -> list[dict[str, Any]]:
    path = directory / "databases" / "databases.yaml"
    if not path.exists():
        return []
    raw = files.parse(path) or []
    if not isinstance(raw, list):
        raise StartError(f"{path}: must be a list of sources")
    return [_source(source, path) for source in raw]


def _source(raw: Any, path: Path) -> dict[str, Any]:
    outline = {key: [] if key in ("tables", "functions") else value for key, value in dict(raw).items()}
    check(outline, keys.SOURCE, str(path))
    source = dict(raw)
    source["tables"] = _items(raw.get("tables", []), path, keys.TABLE)
    if functions := _items(raw.get("functions", []), path, keys.FUNCTION):
        source["functions"] = functions
    else:
        source.pop("functions", None)
    return source


def _items(value: Any, path: Path, shape: Shape) -> list[Any]:
    """A list given in place or by includes, each item checked under the name of its own file."""
    if isinstance(value, str) and value.startswith(files.INCLUDE):
        path = path.parent / value[len(files.INCLUDE) :].strip()
        value = files.parse(path) or []
    if not isinstance(value, list):
        raise StartError(f"{path}: must be a list")
    items = []
    for item in value:
        item_path = path
        if isinstance(item, str) and item.startswith(files.INCLUDE):
            item_path = path.parent / item[len(files.INCLUDE) :].strip()
            item = files.load(item_path)
        check(item, shape, str(item_path))
        items.append(item)
    return items


def _actions(directory: Path) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    sdl_path, path = directory / "actions.graphql", directory / "actions.yaml"
    sdl = sdl_path.read_text(encoding="utf-8") if sdl_path.exists() else ""
    signatures, types = read_sdl(sdl, str(sdl_path))
    shape = {"actions": [keys.ACTION], "custom_types": keys.CUSTOM_TYPES}
    content = _optional(path, shape, {})
    actions = []
    for action in content.get("actions") or []:
        if action["name"] not in signatures:
            raise StartError(f"{path}: the action {action['name']!r} has no signature in {sdl_path}")
        actions.append(_joined(action, signatures.pop(action["name"])))
    if signatures:
        raise StartError(f"{sdl_path}: the action {next(iter(signatures))!r} is not in {path}")
    _merge_types(types, content.get("custom_types") or {}, path)
    return actions, types


def _joined(action: dict[str, Any], signature: dict[str, Any]) -> dict[str, Any]:
    definition = {**action["definition"], **signature}
    if signature["type"] == "query":
        definition.pop("kind", None)
    else:
        definition["kind"] = definition.get("kind") or "synchronous"
    return {**action, "definition": definition}


def _merge_types(
    types: dict[str, list[dict[str, Any]]], extra: dict[str, list[dict[str, Any]]], path: Path
) -> None:
    for kind, items in extra.items():
        by_name = {item["name"]: item for item in types[kind]}
        for item in items or []:
            if item["name"] not in by_name:
                raise StartError(f"{path}: custom_types.{kind}: {item['name']!r} is not in actions.graphql")
            by_name[item["name"]].update({k: v for k, v in item.items() if k not in ("fields", "values")})
