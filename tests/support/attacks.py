"""Plugin of `scripts/test --attacks`: counts the tries of the tests that docs/security.md names.

A test counts as many tries as it has subtests, else as its property `tries` says, else one. `python -m
tests.support.attacks` prints the files of the tests.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from _pytest.subtests import SubtestReport

from ops.settings import installed_commit

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
# Cells: attacker, attack, tests, then what is counted.
ROW = re.compile(r"^(\| (.+?) \| .+? \| (`tests/.+?`) \|)(.*)$", re.MULTILINE)
# A test of a file, or of that of the one before.
NAME = re.compile(r"`((?:tests/[\w/]+\.py)?)::(test_\w+)`")
TOTAL = re.compile(r"^Counted on .*$", re.MULTILINE)


@dataclass(frozen=True)
class Attack:
    """A row of the table. `row`: its cells without counts."""

    row: str
    attackers: list[str]
    tests: list[str]
    counts: str


@dataclass
class Counts:
    """What the tests of one id did, for all parameters. `opened`: the tries that were not refused."""

    tries: int = 0
    opened: list[str] = field(default_factory=list)
    is_skipped: bool = False


def read_attacks(page: str) -> Iterator[Attack]:
    """Read the rows of the table of attacks."""
    for row in ROW.finditer(page):
        tests, path = [], ""
        for named, test in NAME.findall(row[3]):
            path = named or path
            tests.append(f"{path}::{test}")
        yield Attack(row[1], row[2].split("; "), tests, row[4])


def count_tries(reports: Iterable[pytest.TestReport]) -> dict[str, Counts]:
    """Count by the ids of tests without parameters."""
    by_test: dict[str, list[pytest.TestReport]] = defaultdict(list)
    for report in reports:
        if report.when == "call" or not report.passed:
            by_test[report.nodeid].append(report)
    found: dict[str, Counts] = defaultdict(Counts)
    for node, of_test in by_test.items():
        counts = found[node.partition("[")[0]]
        tries = [report for report in of_test if isinstance(report, SubtestReport)]
        rest = [report for report in of_test if not isinstance(report, SubtestReport)]
        failed = [report.context.msg or str(report.context.kwargs) for report in tries if report.failed]
        if not failed and any(report.failed for report in rest):
            failed = [node.rpartition("::")[2]]
        said = [int(str(value)) for each in rest for name, value in each.user_properties if name == "tries"]
        counts.tries += len(tries) or sum(said) or 1
        counts.opened += failed
        counts.is_skipped |= any(report.skipped for report in of_test)
    return dict(found)


def counted(page: str, found: dict[str, Counts], title: str) -> str:
    """Return the page with the counts."""
    tries = opened = 0
    for attack in read_attacks(page):
        of_row = [found[test] for test in attack.tests]
        names = [name for counts in of_row for name in counts.opened]
        total = sum(counts.tries for counts in of_row)
        cells = f" {total:,} | {total - len(names):,} | {', '.join(names) or 'nothing'} |"
        page = page.replace(attack.row + attack.counts, attack.row + cells)
        tries, opened = tries + total, opened + len(names)
    return TOTAL.sub(f"Counted {title}: {tries:,} tries, {tries - opened:,} refused.", page)


def tests_of_page() -> list[str]:
    """Return the ids of the tests that the page names, each once."""
    named = (test for attack in read_attacks(PAGE.read_text()) for test in attack.tests)
    return list(dict.fromkeys(named))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the page does not name. The others stay in the order of their files."""
    wanted = set(tests_of_page())
    kept = [item for item in items if item.nodeid.partition("[")[0] in wanted]
    config.hook.pytest_deselected(items=list(set(items) - set(kept)))
    items[:] = kept


_reports: list[pytest.TestReport] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _reports.append(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page, if each of its tests ran. It is no failure of the tests if one could not."""
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    page, found = PAGE.read_text(), count_tries(_reports)
    left = [test for test in tests_of_page() if test not in found or found[test].is_skipped]
    if left:
        print(f"\n{PAGE.name} stays as it is, because these did not run: {', '.join(left)}")
        return
    PAGE.write_text(
        counted(page, found, f"on {datetime.now(UTC):%Y-%m-%d} at `{installed_commit()[-40:][:8]}`")
    )


if __name__ == "__main__":
    print("\n".join(dict.fromkeys(test.partition("::")[0] for test in tests_of_page())))
