"""The files of the repository, and what their Python code holds."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked() -> list[Path]:
    """Every file of the repository. Skips the test where git cannot tell."""
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("this copy is no git clone, so the files of the repository are not known")
    return [ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]


def python(*places: str) -> list[Path]:
    """The Python files of some folders, or app.py."""
    found: list[Path] = []
    for place in places:
        found += [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))
    return found


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def functions(*places: str) -> dict[str, int]:
    """The length of every function in lines, without decorators and docstring."""
    found: dict[str, int] = {}
    for path in python(*places):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                docs = node.body[0] if ast.get_docstring(node) else None
                doc_lines = (docs.end_lineno or 0) - docs.lineno + 1 if docs else 0
                length = (node.end_lineno or 0) - node.lineno + 1 - doc_lines
                found[f"{name(path)}:{node.lineno} {node.name}"] = length
    return found


def imports(path: Path) -> Iterator[str]:
    """The top-level package of every import in a file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]
