"""Plugin of `scripts/test --fast`: leave out the tests that need PostgreSQL or start several servers."""

import pytest

# The fixture that starts PostgreSQL; every fixture with a database requests it.
SERVER_FIXTURE = "cluster"
# Their tests start servers themselves.
SLOW_PATHS = (
    "tests/edge/",
    "tests/end_to_end/",
    "tests/leads/services/test_restart.py",
    "tests/sandbox/test_postgres.py",
    "tests/sandbox/test_bench.py",
)


def _is_slow(item: pytest.Item) -> bool:
    return SERVER_FIXTURE in getattr(item, "fixturenames", ()) or item.nodeid.startswith(SLOW_PATHS)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the slow tests, after pytest has resolved which fixtures each one requests."""
    slow = [item for item in items if _is_slow(item)]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not _is_slow(item)]
