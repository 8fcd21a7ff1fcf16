"""Fixtures of the edge's tests: each test has its own real nginx in front of fakes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.edge.packages import missing_packages
from sandbox.processes import Processes
from tests.support.edge.harness import EdgeHarness
from tests.support.waiting import eventually


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of the real edge where its packages are missing, and name the packages."""
    missing = missing_packages()
    if missing:
        reason = f"the real edge needs Debian's {', '.join(missing)}: apt-get install them to run these tests"
        for item in items:
            needs_nginx = {"start_harness", "harness", "shared_harness", "real"} & set(
                getattr(item, "fixturenames", ())
            )
            if item.path.parent == Path(__file__).parent and (needs_nginx or "[real" in item.name):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Child processes and directories that are removed after the test."""
    with Processes() as running:
        yield running


@pytest.fixture
def start_harness(processes: Processes) -> Iterator[Callable[..., EdgeHarness]]:
    """Start an edge: `start_harness(EDGE_SPOOL_MAX_FILES="3")`; with `started=False` only prepare it.

    The error log of an edge that was started must hold no traceback at the end.
    """
    checked: list[EdgeHarness] = []
    unchecked: list[EdgeHarness] = []

    def start(started: bool = True, workers: int = 2, **environment: str) -> EdgeHarness:
        harness = EdgeHarness.create(processes, workers, environment)
        (checked if started else unchecked).append(harness)
        if started:
            harness.edge.start()
            harness.edge.wait_ready()
            eventually(lambda: harness.metric("pancake_edge_policy_age_seconds{}") >= 0, seconds=10)
        return harness

    yield start
    for harness in checked + unchecked:
        harness.close()
    for harness in checked:
        assert "traceback" not in harness.edge.errors(), harness.edge.errors()


@pytest.fixture
def harness(start_harness: Callable[..., EdgeHarness]) -> EdgeHarness:
    """An edge with its defaults and short intervals."""
    return start_harness()
