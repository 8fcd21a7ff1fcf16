"""Read YAML files of a metadata directory, with their `!include` strings."""

from pathlib import Path
from typing import Any

import yaml

INCLUDE = "!include "


class DirectoryError(Exception):
    """A metadata directory cannot be read; the message names the file."""


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
