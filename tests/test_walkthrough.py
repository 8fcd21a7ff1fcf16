"""The README follows one webhook and one cron: every hop exists, and the hop that it names leads to it."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from app import HASURA_ROUTES
from leads.adapters.queries import QUERIES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
HOP = re.compile(r"^\| (\d+) \| (\d*) \| `([^`]+)` \| `([^`]+)`")


@dataclass(frozen=True)
class Hop:
    """A row of the table: the file, the name to look for in it, and the hop that leads here (0: none)."""

    number: int
    source: int
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
    return [Hop(int(hop[1]), int(hop[2] or 0), hop[3], hop[4]) for hop in found if hop]


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
def test_the_named_hop_leads_to_it(walk: list[Hop], hop: Hop) -> None:
    """Metadata names an object, the route table a handler; a module imports a name or sends a statement."""
    assert 0 < hop.source < hop.number
    source = walk[hop.source - 1]
    if hop.kind == "route":
        assert "{{HANDLERS_URL}}" + hop.name in source.text
    elif hop.kind == ".sql":
        assert sends(source, hop.name)
    elif hop.kind == ".yaml":
        assert re.search(rf"(?<!\w){re.escape(hop.name)}(?!\w)", source.text)
    elif source.kind == "route":
        assert handler(source.name) == (hop.module, hop.name)
    else:
        assert imports(source, hop)
