"""The README follows one webhook and one cron: every hop exists, and an earlier hop leads to it."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from app import HASURA_ROUTES
from leads.adapters.queries import QUERIES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
HOP = re.compile(r"^\| (\d+) \| `([^`]+)` \| `([^`]+)`")


@dataclass(frozen=True)
class Hop:
    """A row of the table: the file, and the name to look for in it."""

    number: int
    path: str
    name: str

    @property
    def text(self) -> str:
        return (ROOT / self.path).read_text("utf-8")

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").replace("/", ".")

    @property
    def kind(self) -> str:
        return "route" if self.path == "app.py" else Path(self.path).suffix


def hops_under(heading: str) -> list[Hop]:
    section = README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = [HOP.match(line) for line in section.splitlines()]
    return [Hop(int(hop[1]), hop[2], hop[3]) for hop in found if hop]


WALKS = {heading: hops_under(heading) for heading in ("Follow one webhook", "Follow one cron")}
HOPS = [(walk[: hop.number], hop) for walk in WALKS.values() for hop in walk]
IDS = [f"{heading} {hop.number}" for heading, walk in WALKS.items() for hop in walk]


def defines(hop: Hop) -> bool:
    """Whether the module defines the function or class at its top level."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) and node.name == hop.name for node in ast.parse(hop.text).body)


def imports(source: Hop, hop: Hop) -> bool:
    """Whether a module imports the name of a hop, or the hop's module."""
    package, _, module = hop.module.rpartition(".")
    return any(
        isinstance(node, ast.ImportFrom)
        and any(
            (node.module, alias.name) in {(hop.module, hop.name), (package, module)} for alias in node.names
        )
        for node in ast.walk(ast.parse(source.text))
    )


def sends(source: Hop, statement: str) -> bool:
    """Whether a module names a statement in full."""
    return any(
        isinstance(node, ast.Constant) and node.value == statement
        for node in ast.walk(ast.parse(source.text))
    )


def handler(path: str) -> tuple[str, str]:
    """Module and name of the function that serves a route."""
    (route,) = (route for route in HASURA_ROUTES if route.path == path)
    return route.handle.__module__, getattr(route.handle, "__name__", "")


@pytest.mark.parametrize("heading", WALKS)
def test_a_walk_goes_from_metadata_to_sql(heading: str) -> None:
    walk = WALKS[heading]
    assert [hop.number for hop in walk] == list(range(1, len(walk) + 1))
    assert (walk[0].kind, walk[-1].kind) == (".yaml", ".sql")
    assert {"route", ".py"} <= {hop.kind for hop in walk}


@pytest.mark.parametrize(("walk", "hop"), HOPS, ids=IDS)
def test_a_hop_is_where_the_readme_says(walk: list[Hop], hop: Hop) -> None:
    assert (ROOT / hop.path).is_file()
    match hop.kind:
        case "route":
            assert hop.name in {route.path for route in HASURA_ROUTES}
        case ".py":
            assert defines(hop)
        case ".sql":
            assert hop.name in QUERIES
            assert hop.path == f"sql/{hop.name}.sql"
        case _:
            assert re.search(rf"(?<!\w){re.escape(hop.name)}(?!\w)", hop.text)


@pytest.mark.parametrize(("walk", "hop"), [pair for pair in HOPS if pair[1].number > 1],
                         ids=[name for name in IDS if not name.endswith(" 1")])  # fmt: skip
def test_an_earlier_hop_leads_to_it(walk: list[Hop], hop: Hop) -> None:
    """Metadata and SQL: the hop before names it. Python: an earlier module imports it or sends it."""
    before = walk[hop.number - 2]
    modules = [earlier for earlier in walk[: hop.number - 1] if earlier.kind == ".py"]
    if hop.kind == "route":
        assert "{{HANDLERS_URL}}" + hop.name in before.text
    elif hop.kind == ".sql":
        assert any(sends(module, hop.name) for module in modules)
    elif hop.kind == ".yaml":
        assert re.search(rf"(?<!\w){re.escape(hop.name)}(?!\w)", before.text)
    elif before.kind == "route":
        assert handler(before.name) == (hop.module, hop.name)
    else:
        assert any(imports(module, hop) for module in modules)
