"""Fixtures of the edge's tests: a real nginx in front of fakes, shared by a file or of one test alone."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.edge import missing_packages
from sandbox.processes import Processes
from tests.support.edge.harness import Edge, EdgeHarness


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of the real edge where its packages are missing, and name the packages."""
    missing = missing_packages()
    if missing:
        reason = f"the real edge needs Debian's {', '.join(missing)}: apt-get install them to run these tests"
        for item in items:
            needs_nginx = {"shared", "own", "real"} & set(getattr(item, "fixturenames", ()))
            if item.path.parent == Path(__file__).parent and (needs_nginx or "[real" in item.name):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def running_edges() -> Iterator[Edge]:
    """The edges that the tests of a file share, one for each number of workers and environment."""
    edges: dict[frozenset[tuple[str, object]], EdgeHarness] = {}
    with Processes() as processes:

        def get(workers: int = 2, **environment: str) -> EdgeHarness:
            key = frozenset({"workers": workers, **environment}.items())
            if key not in edges:
                edges[key] = EdgeHarness(processes, environment, workers)
                edges[key].bring_up()
            else:
                edges[key].reset()
            return edges[key]

        yield get
        for edge in edges.values():
            edge.close()


@pytest.fixture
def shared(running_edges: Edge) -> Iterator[Edge]:
    """An edge that is as good as new: `shared(EDGE_SPOOL_MAX_FILES="3")`. Its log must hold no traceback."""
    used: list[EdgeHarness] = []

    def start(workers: int = 2, **environment: str) -> EdgeHarness:
        used.append(running_edges(workers, **environment))
        return used[-1]

    yield start
    for harness in used:
        assert "traceback" not in harness.edge.errors(), harness.edge.errors()


@pytest.fixture
def harness(shared: Edge) -> EdgeHarness:
    """A shared edge with its defaults and short intervals."""
    return shared()


@pytest.fixture
def own(processes: Processes) -> Iterator[Edge]:
    """Prepare an edge of the test's own that is not started yet, because its files or its clock differ."""
    prepared: list[EdgeHarness] = []

    def prepare(workers: int = 2, tls: ssl.SSLContext | None = None, **environment: str) -> EdgeHarness:
        prepared.append(EdgeHarness(processes, environment, workers, tls))
        return prepared[-1]

    yield prepare
    for harness in prepared:
        harness.close()
