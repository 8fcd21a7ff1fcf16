"""The description of all keys of the metadata, keys.yaml, and the check of a value against it."""

from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import yaml

from graphql_engine.settings import StartError

LISTS = ("cron_triggers", "query_collections", "rest_endpoints", "allowlist", "inherited_roles")
OBJECTS = ("api_limits", "graphql_schema_introspection", "opentelemetry")
UNUSED = ("remote_schemas", "backend_configs", "metrics_config", "network")
"""Keys of the metadata that must be empty."""
Shape = Any
ANY = object()
EMPTY: tuple[Any, ...] = (None, "", [], {}, False)


@dataclass(frozen=True)
class Unsupported:
    """A key that Hasura supports and this stand-in does not: only empty values are allowed."""

    harmless: tuple[Any, ...] = ()


@dataclass(frozen=True)
class OneOf:
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Either:
    """Any of several shapes; errors are reported for the last one."""

    shapes: tuple[Shape, ...]


SCALARS: dict[str, Shape] = {
    "any": ANY, "bool": bool, "integer": int, "number": (int, float), "object": dict, "text": str,
    "unsupported": Unsupported(),
}  # fmt: skip


def _read(node: Any) -> Shape:
    """Return the shape that a node of keys.yaml describes; `$` names one that was read before."""
    match node:
        case str() if node.startswith("$"):
            return SHAPES[node[1:]]
        case str() if node.endswith(" or null"):
            scalar = SCALARS[node.removesuffix(" or null")]
            return (*(scalar if isinstance(scalar, tuple) else (scalar,)), NoneType)
        case str():
            return SCALARS[node]
        case [item]:
            return [_read(item)]
        case {"one of": values}:
            return OneOf(tuple(values))
        case {"either": shapes}:
            return Either(tuple(map(_read, shapes)))
        case {"unsupported but": values}:
            return Unsupported(tuple(values))
        case _:
            return {key: _read(inner) for key, inner in node.items()}


SHAPES: dict[str, Shape] = {}
for _name, _node in yaml.safe_load(Path(__file__).with_name("keys.yaml").read_text("utf-8")).items():
    SHAPES[_name] = _read(_node)


class ShapeError(StartError):
    """Metadata do not fit their description; `path` is the place below the checked value."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


def check(value: Any, shape: Shape, where: str, path: str = "$", *, lenient: bool = False) -> None:
    """Compare a value with its shape.

    A dict shape lists keys (a trailing `!` marks required ones), a one-element list is a list of that shape,
    a type or tuple of types is a scalar. Raises ShapeError naming `where` and the key.
    lenient: accept unknown keys and nulls, as the metadata API does.
    """
    if shape is ANY or (lenient and value is None):
        return
    if isinstance(shape, Unsupported):
        if not any(_same(value, harmless) for harmless in EMPTY + shape.harmless):
            raise ShapeError(path, f"{where}: {path} is not supported by this stand-in")
    elif isinstance(shape, OneOf):
        if not any(_same(value, allowed) for allowed in shape.values):
            raise ShapeError(path, f"{where}: {path} must be one of {list(shape.values)}, not {value!r}")
    elif isinstance(shape, Either):
        _check_either(value, shape, where, path, lenient)
    elif isinstance(shape, dict):
        _check_object(value, shape, where, path, lenient)
    elif isinstance(shape, list):
        _check_list(value, shape[0], where, path, lenient)
    elif not isinstance(value, shape) or (
        isinstance(value, bool) and bool not in (shape if isinstance(shape, tuple) else (shape,))
    ):
        raise ShapeError(path, f"{where}: {path} has a value of the wrong type: {value!r}")


def _check_either(value: Any, shape: Either, where: str, path: str, lenient: bool) -> None:
    for option in shape.shapes[:-1]:
        try:
            return check(value, option, where, path, lenient=lenient)
        except ShapeError:
            continue
    return check(value, shape.shapes[-1], where, path, lenient=lenient)


def _check_object(value: Any, shape: dict[str, Shape], where: str, path: str, lenient: bool) -> None:
    if not isinstance(value, dict):
        raise ShapeError(path, f"{where}: {path} must be an object, not {value!r}")
    known = {key.rstrip("!"): inner for key, inner in shape.items()}
    for key, inner in value.items():
        if key in known:
            check(inner, known[key], where, f"{path}.{key}", lenient=lenient)
        elif not lenient:
            raise ShapeError(path, f"{where}: unknown key {key!r} at {path}")
    for key in shape:
        if key.endswith("!") and key[:-1] not in value:
            raise ShapeError(path, f"{where}: {path} lacks the key {key[:-1]!r}")


def _check_list(value: Any, inner: Shape, where: str, path: str, lenient: bool) -> None:
    if not isinstance(value, list):
        raise ShapeError(path, f"{where}: {path} must be a list, not {value!r}")
    for index, item in enumerate(value):
        check(item, inner, where, f"{path}[{index}]", lenient=lenient)


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and bool(value == other)
