"""Find a place of the product by its name: a statement, a function, a value of a module.

| name | place |
|---|---|
| `process_record/claim_event` | the SQL statement of that name |
| `pancake_active_source()` | the SQL function of the migrations |
| `leads.domain.assign:choose` | the function, method, class or value of the Python module |
| `spool.lua:keep` | the function of the edge's Lua module |
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

MIGRATIONS = "hasura/migrations/default"
LUA_MODULES = "deploy/nginx/lua/pancake"


@dataclass(frozen=True)
class Place:
    """Lines of a file: `first` counts from 0, `end` is the line after the last."""

    path: Path
    first: int
    end: int

    @property
    def text(self) -> str:
        return "".join(self.path.read_text("utf-8").splitlines(keepends=True)[self.first : self.end])

    def replace(self, text: str, replacement: str) -> None:
        """Write the file anew with the only occurrence of `text` replaced.

        Raises LookupError if the place has the text never, or more than once.
        """
        if (count := self.text.count(text)) != 1:
            raise LookupError(f"{self.path.name} has {text!r} {count} times there")
        self.write(self.text.replace(text, replacement))

    def write(self, text: str) -> None:
        """Write the file anew with another text at this place."""
        lines = self.path.read_text("utf-8").splitlines(keepends=True)
        lines[self.first : self.end] = [text]
        self.path.write_text("".join(lines), "utf-8")


def find_place(root: Path, name: str) -> Place:
    """Return the place of this name in a tree. Raises LookupError if there is none."""
    before, colon, after = name.partition(":")
    if before.endswith(".lua"):
        return _find_lua(root / LUA_MODULES / before, after)
    if colon:
        return _find_python(root, before, after)
    if name.endswith("()"):
        return _find_in_migrations(root, name.removesuffix("()"))
    return _find_statement(root, name)


def _find_statement(root: Path, name: str) -> Place:
    for path in sorted((root / "sql").rglob("*.sql")):
        lines = path.read_text("utf-8").splitlines()
        begins = [number for number, line in enumerate(lines) if line.startswith("-- name: ")]
        for first, end in pairwise([*begins, len(lines)]):
            if lines[first] == f"-- name: {name}":
                return Place(path, first + 1, end)
    raise LookupError(f"there is no statement {name}")


def module_path(root: Path, module: str) -> Path:
    """Return the file of a Python module. Raises LookupError if there is none."""
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.exists():
            return path
    raise LookupError(f"there is no module {module}")


def definitions(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """Yield each function, method, class and assigned name of a module, as `Class.method`."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.stmt]]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield prefix + node.name, node
                yield from walk(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from ((prefix + target.id, node) for target in targets if isinstance(target, ast.Name))

    return walk(tree.body, "")


@lru_cache(maxsize=8)
def _definitions_in(text: str) -> list[tuple[str, ast.stmt]]:
    """Parse a module once for all its places."""
    return list(definitions(ast.parse(text)))


def _find_python(root: Path, module: str, name: str) -> Place:
    path = module_path(root, module)
    for found, node in _definitions_in(path.read_text("utf-8")):
        if found == name:
            first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
            return Place(path, first - 1, node.end_lineno or node.lineno)
    raise LookupError(f"{module} has no {name}")


def _find_lua(path: Path, name: str) -> Place:
    """A function of the module's outermost level begins and ends at the first column."""
    if not path.exists():
        raise LookupError(f"there is no {path.name} in {LUA_MODULES}")
    lines = path.read_text("utf-8").splitlines()
    begin = re.compile(
        rf"(local )?function (\w+[.:])?{re.escape(name)}\(|(local )?(\w+\.)?{re.escape(name)} = "
    )
    for number, line in enumerate(lines):
        if begin.match(line):
            ends = (n for n in range(number, len(lines)) if re.match(r"(end|\}|\]\])", lines[n]))
            is_block = not re.match(r".* = [^{]*$", line) or "function" in line
            return Place(path, number, next(ends, number) + 1 if is_block else number + 1)
    raise LookupError(f"{path.name} has no function {name}")


def _find_in_migrations(root: Path, name: str) -> Place:
    """The newest definition counts. It ends with the first semicolon at an end of line, bodies left out."""
    begin = re.compile(rf"CREATE (OR REPLACE )?FUNCTION (\w+\.)?{re.escape(name)}\(")
    for path in sorted((root / MIGRATIONS).glob("*/up.sql"), reverse=True):
        lines = path.read_text("utf-8").splitlines()
        for number in reversed(range(len(lines))):
            if begin.match(lines[number]):
                in_body = False
                for end in range(number, len(lines)):
                    in_body ^= lines[end].count("$$") % 2 == 1
                    if not in_body and lines[end].rstrip().endswith(";"):
                        return Place(path, number, end + 1)
    raise LookupError(f"no migration creates the function {name}")
