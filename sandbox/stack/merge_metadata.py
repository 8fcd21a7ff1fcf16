"""Merge metadata directories into one of the same layout, because the engine's image reads only one.

    python -m sandbox.stack.merge_metadata OUT DIR [DIR ...]

Lists are concatenated in the order of the directories. A name that two directories define is an error.
"""

import shutil
import sys
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml
from graphql import ObjectTypeDefinitionNode, parse, print_ast

ROOTS = ("Query", "Mutation")
TABLES = Path("databases/default/tables")


class MergeError(Exception):
    """Two directories define the same object; the message names it."""


def merge_directories(out: Path, directories: list[Path]) -> None:
    """Write the merged directory to `out`, which must not exist. Raises MergeError."""
    (out / TABLES).mkdir(parents=True)
    for name in sorted({path.name for directory in directories for path in directory.glob("*.yaml")}):
        _write(out / name, _merge_files([directory / name for directory in directories]))
    _write(
        out / "databases/databases.yaml", _read_equal([d / "databases/databases.yaml" for d in directories])
    )
    _write(out / TABLES / "tables.yaml", _merge_files([d / TABLES / "tables.yaml" for d in directories]))
    for directory in directories:
        for path in (directory / TABLES).glob("*_*.yaml"):
            if (out / TABLES / path.name).exists():
                raise MergeError(f"{path}: another directory tracks this table")
            shutil.copy(path, out / TABLES)
    sdl = [d / "actions.graphql" for d in directories if (d / "actions.graphql").exists()]
    (out / "actions.graphql").write_text(join_sdl([path.read_text() for path in sdl]))


def join_sdl(texts: list[str]) -> str:
    """Join SDL texts into one with at most one `type Query` and one `type Mutation`."""
    definitions: list[str] = []
    fields: dict[str, list[str]] = {root: [] for root in ROOTS}
    for text in texts:
        for node in parse(text).definitions:
            if isinstance(node, ObjectTypeDefinitionNode) and node.name.value in ROOTS:
                fields[node.name.value] += [indent(print_ast(field), "  ") for field in node.fields or ()]
            else:
                definitions.append(print_ast(node))
    roots = [f"type {root} {{\n" + "\n".join(lines) + "\n}" for root, lines in fields.items() if lines]
    return "\n\n".join(roots + definitions) + "\n"


def _merge_files(paths: list[Path]) -> Any:
    """Merge the files that exist: concatenate lists, merge objects, require equal scalars."""
    contents = [yaml.safe_load(path.read_text()) for path in paths if path.exists()]
    merged: Any = None
    for content in contents:
        merged = content if merged is None else _merge(merged, content, paths[0].name)
    return merged


def _merge(left: Any, right: Any, where: str) -> Any:
    if isinstance(left, dict) and isinstance(right, dict):
        shared = {key: _merge(left[key], right[key], where) for key in left if key in right}
        return left | right | shared
    if isinstance(left, list) and isinstance(right, list):
        names = [item.get("name") if isinstance(item, dict) else item for item in (*left, *right)]
        repeated = {name for name in names if name is not None and names.count(name) > 1}
        if repeated:
            raise MergeError(f"{where}: defined twice: {sorted(map(str, repeated))}")
        return left + right
    if left != right:
        raise MergeError(f"{where}: {left!r} in one directory, {right!r} in another")
    return left


def _read_equal(paths: list[Path]) -> Any:
    contents = [yaml.safe_load(path.read_text()) for path in paths if path.exists()]
    if any(content != contents[0] for content in contents):
        raise MergeError("databases.yaml must be the same in every directory")
    return contents[0]


def _write(path: Path, content: Any) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


if __name__ == "__main__":
    out, *directories = map(Path, sys.argv[1:])
    merge_directories(out, directories)
