"""Plugin of `scripts/test --junit`: the test cases that a test has as marks, and their pass rate by id.

The JUnit file gets the ids as properties `test_case` of a test, and the commit as a property of the suite.
"""

from collections.abc import Iterator

import pytest
from _pytest.junitxml import xml_key

from leads.cli.golive.commit import commit_of_run

PROPERTY = "test_case"


def ids_of(item: pytest.Item) -> Iterator[str]:
    """The ids of `@pytest.mark.test_case("TC-001")`; several marks are several ids."""
    for mark in item.iter_markers(PROPERTY):
        yield from mark.args


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its ids as properties, which travel with its report."""
    for item in items:
        item.user_properties.extend((PROPERTY, name) for name in ids_of(item))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Write the commit into the JUnit file; the processes of xdist write none."""
    xml = session.config.stash.get(xml_key, None)
    if xml is not None:
        xml.add_global_property("commit", commit_of_run())


def results_by_id(reports: dict[str, list[pytest.TestReport]]) -> dict[str, bool]:
    """Whether each id passed: it has a test, and none of its tests failed or was skipped."""
    results: dict[str, bool] = {}
    for category in ("passed", "failed", "error", "skipped"):
        for report in reports.get(category, []):
            for name, value in getattr(report, "user_properties", []):
                if name == PROPERTY:
                    results[str(value)] = results.get(str(value), True) and category == "passed"
    return results


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the pass rate, and the ids that did not pass."""
    results = results_by_id(terminalreporter.stats)
    if not results:
        return
    passed = sum(results.values())
    rate = passed / len(results)
    terminalreporter.write_line(f"test cases: {passed} of {len(results)} passed ({rate:.1%})")
    for name in sorted(results):
        if not results[name]:
            terminalreporter.write_line(f"  {name} did not pass")
