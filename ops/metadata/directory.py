"""Read a metadata directory (CLI config v3) as the JSON that an engine takes.

Facts: the layout that the CLI exports, https://hasura.io/docs/2.0/migrations-metadata-seeds/metadata-format/.
"""

from pathlib import Path
from typing import Any

from ops.metadata import yaml_files
from ops.metadata.sdl import read_sdl
from ops.metadata.yaml_files import INCLUDE, DirectoryError

Json = dict[str, Any]
DIRECTORY = Path(__file__).resolve().parents[2] / "hasura" / "metadata"
"""The metadata of the integration."""

LISTS = ("cron_triggers", "query_collections", "rest_endpoints", "allowlist", "inherited_roles")
OBJECTS = ("api_limits", "graphql_schema_introspection")
UNUSED = ("remote_schemas", "backend_configs", "metrics_config", "network", "opentelemetry")
"""Files that the CLI always writes and that must be empty."""

FILES = {"allowlist": "allow_list.yaml"}
KNOWN = {FILES.get(name, f"{name}.yaml") for name in (*LISTS, *OBJECTS, *UNUSED, "version", "actions")}
KNOWN |= {"actions.graphql", "databases"}


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
    for action in yaml_files.load(path)["actions"]:
        if action["name"] == name and action.get("permissions"):
            return str(action["permissions"][0]["role"])
    raise DirectoryError(f"{path}: no role may call the action {name!r}")


class _Reader:
    def __init__(self, directory: Path, *, others: bool = False) -> None:
        self._directory = directory
        self._others = others

    def read(self) -> Json:
        version = self._directory / "version.yaml"
        if yaml_files.load(version) != {"version": 3}:
            raise DirectoryError(f"{version}: version must be one of [3]")
        metadata: Json = {"version": 3, "sources": self._sources()}
        for name in (*LISTS, *OBJECTS):
            if content := _optional(self._directory / FILES.get(name, f"{name}.yaml")):
                metadata[name] = content
        for name in () if self._others else UNUSED:
            path = self._directory / f"{name}.yaml"
            if path.exists() and yaml_files.load(path):
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
        raw = yaml_files.parse(path) or []
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
    return yaml_files.load(path) if path.exists() else None


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
        value = yaml_files.parse(path) or []
    if not isinstance(value, list):
        raise DirectoryError(f"{path}: must be a list")
    return [
        yaml_files.load(path.parent / item[len(INCLUDE) :].strip())
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
