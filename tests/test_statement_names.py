"""Statement names stand in full where a statement is sent: by the module that its folder is named after."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from leads.adapters.queries import QUERIES

ROOT = Path(__file__).parents[1]
SENDERS = ("app.py", "handlers", "cron", "leads")
OTHERS = ("scripts", "sandbox", "tests")
FOLDERS = "|".join(sorted({name.partition("/")[0] for name in QUERIES}))
# The beginning of a statement name in an f-string, for example f"kpi/load_{name}".
PREFIX = re.compile(rf"({FOLDERS})/")
# A statement name with a gap for `+`, `%` or format: "kpi/", "kpi/load_%s", "kpi/{}".
PATTERN = re.compile(rf"({FOLDERS})/(\w*_|\w*(%s|\{{\w*\}})\w*)?")


def sources(*rooms: str) -> Iterator[tuple[Path, ast.Module]]:
    for room in rooms:
        paths = [ROOT / room] if room.endswith(".py") else sorted((ROOT / room).rglob("*.py"))
        for path in paths:
            yield path.relative_to(ROOT), ast.parse(path.read_text("utf-8"))


def built(tree: ast.Module) -> Iterator[int]:
    """The lines where a statement name is put together from parts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and node.values:
            first = node.values[0]
            if isinstance(first, ast.Constant) and PREFIX.match(str(first.value)):
                yield node.lineno
        elif isinstance(node, ast.Constant) and PATTERN.fullmatch(str(node.value)):
            yield node.lineno


def named() -> Iterator[tuple[str, Path, int]]:
    """Every statement name in the product's Python files, with its place."""
    for path, tree in sources(*SENDERS):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in QUERIES:
                yield str(node.value), path, node.lineno


def is_sender(path: Path, name: str) -> bool:
    """Whether the file is the module that the statement's folder is named after, or lies in that package."""
    return name.partition("/")[0] in {*path.parts[:-1], path.stem}


def test_every_statement_name_is_a_full_literal() -> None:
    assert (
        sorted({f"{path}:{line}" for path, tree in sources(*SENDERS, *OTHERS) for line in built(tree)}) == []
    )


def test_a_statement_is_sent_only_by_the_module_that_its_folder_is_named_after() -> None:
    found = [f"{path}:{line} {name}" for name, path, line in named() if not is_sender(path, name)]
    assert found == []


def test_every_statement_is_named_by_its_sender() -> None:
    """Finds a statement that nothing sends, and a name built in a way that the first test does not see."""
    assert set(QUERIES) - {name for name, path, _ in named() if is_sender(path, name)} == set()
