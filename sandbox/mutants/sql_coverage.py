"""Which SQL statements and functions of the product no test sends. A plugin of the measured run.

Processes that a test starts are not recorded: what only they send is named although it is tested.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ops.queries
from leads.adapters import database
from sandbox.mutants.places import MIGRATIONS

FOLDER = Path(__file__).parents[2] / ".mutants"
_CREATED = re.compile(
    r"^CREATE (?:OR REPLACE )?(FUNCTION|VIEW|TRIGGER) (?:\w+\.)?(\w+)(.*?;\n)(?=\n|--|\Z)", re.M | re.S
)


class _Recorded(dict[str, bytes]):
    """The statements, and the names of those that were asked for."""

    def __init__(self, statements: dict[str, bytes]) -> None:
        super().__init__(statements)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> bytes:
        self.asked.add(name)
        return super().__getitem__(name)


_recorded = _Recorded(ops.queries.QUERIES)


def pytest_configure() -> None:
    """Record, from before the modules that send statements are imported."""
    database.QUERIES = ops.queries.QUERIES = _recorded


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the names, of each process of xdist in a file of its own."""
    worker = getattr(session.config, "workerinput", {"workerid": "main"})["workerid"]
    (FOLDER / f"statements-{worker}").write_text("\n".join(sorted(_recorded.asked)))


def unsent(root: Path) -> Iterator[str]:
    """Yield the statements that no test sent, and the functions that none of the sent ones can reach."""
    sent = {name for path in FOLDER.glob("statements-*") for name in path.read_text().split()}
    folder = root / "sql"
    statements = database.load_queries(folder, folder / "kpi", folder / "ops")
    yield from sorted(statements.keys() - sent)
    text = "".join(path.read_text("utf-8") for path in sorted((root / MIGRATIONS).glob("*/up.sql")))
    created = [(kind, name, body) for kind, name, body in _CREATED.findall(text)]
    reached = " ".join(statements[name].decode() for name in sent)
    reached += " ".join(body for kind, _, body in created if kind == "TRIGGER")
    left = {name: body for kind, name, body in created if kind != "TRIGGER"}
    while found := [name for name in left if re.search(rf"\b{name}\b", reached)]:
        reached += " ".join(left.pop(name) for name in found)
    yield from (f"{name}()" for name in sorted(left))
