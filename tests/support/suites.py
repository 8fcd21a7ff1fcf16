"""Plugin: which tests a suite runs, tests that assert times run alone, the test cases of a run with --junit.

scripts/test names the suite. The JUnit file gets the ids of test cases as properties `test_case` of a test,
and the commit as a property of the suite.
"""

import fcntl
import gc
import os
import re
from collections.abc import Generator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from _pytest.junitxml import xml_key

from ops.golive.judgement import WHOLE_SUITE
from ops.settings import commit_origin, installed_commit

IS_FULL = "TEST_FULL" in os.environ
"""Whether `scripts/test --full` runs: more examples, and the tests marked `full`."""
SERVER_FIXTURE = "cluster"
"""The fixture that starts PostgreSQL; every fixture with a database requests it."""
PATHS_WITH_SERVERS = (
    "tests/edge/", "tests/end_to_end/", "tests/ops/test_connections.py", "tests/ops/test_installation.py",
    "tests/sandbox/test_servers.py", "tests/proofs/test_bench.py",
)  # fmt: skip
"""Their tests start servers themselves."""
LONG_PATHS = (
    "tests/ops/golive/", "tests/end_to_end/", "tests/model/", "tests/edge/",
    "tests/handlers/test_ingest_record_hostile.py", "tests/leads/domain/",
)  # fmt: skip
"""They go first: a file is one process's, and a long one that begins last would keep the others waiting."""
SERIAL = re.compile(r"^@pytest\.mark\.serial\n(?:[@ )].*\n)*(?:async )?def (\w+)", re.MULTILINE)
"""A test that is marked `serial`, in its text: the process that distributes the tests collects none."""
TEST_CASE = "test_case"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--suite",
        choices=("default", "fast", "slow", "full"),
        help="leave out what another suite of scripts/test runs; without it every test runs",
    )


def is_serial(item: pytest.Item) -> bool:
    return item.get_closest_marker("serial") is not None


def belongs(item: pytest.Item, suite: str, *, wants_cases: bool) -> bool:
    """Whether the suite runs the test. With a JUnit file the default one also runs every test case."""
    is_slow, is_full, is_case = (
        item.get_closest_marker(name) is not None for name in ("slow", "full", "test_case")
    )
    if suite == "default" and wants_cases and is_case:
        return True
    match suite:
        case "fast":
            starts_servers = SERVER_FIXTURE in getattr(item, "fixturenames", ())
            return not (is_slow or is_full or starts_servers or item.nodeid.startswith(PATHS_WITH_SERVERS))
        case "slow":
            return is_slow and not is_full
        case "default":
            return not (is_slow or is_full)
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of other suites, after fixtures are resolved, and put long files first."""
    suite, wants_cases = config.getoption("--suite"), bool(config.getoption("--junit-xml"))
    if suite:
        kept = [item for item in items if belongs(item, suite, wants_cases=wants_cases)]
        config.hook.pytest_deselected(items=list(set(items) - set(kept)))
        items[:] = sorted(kept, key=lambda item: not item.nodeid.startswith(LONG_PATHS))
        items.sort(key=lambda item: not is_serial(item))
    if wants_cases:
        for item in items:
            names = [name for mark in item.iter_markers(TEST_CASE) for name in mark.args]
            item.user_properties.extend((TEST_CASE, name) for name in names)


def pytest_collection_finish() -> None:
    """Leave what is loaded by now out of garbage collections, which would take a twentieth of the time."""
    gc.freeze()


def is_whole(config: pytest.Config) -> bool:
    """Whether a run is `scripts/test` without paths and without an option that leaves tests out."""
    narrowed = [
        config.getoption(name, default=None) for name in ("keyword", "markexpr", "deselect", "ignore", "lf")
    ]
    is_given = config.args_source is pytest.Config.ArgsSource.ARGS
    return config.getoption("--suite") in ("default", "full") and not is_given and not any(narrowed)


class Turn:
    """One worker's right to run tests: beside those of other workers, or alone.

    A lock that all share while their tests run, and a gate in front of it. A worker that waits to be alone
    holds the gate, so that the tests of the others end and no new one begins; so does one that is alone.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._gate, self._running = (os.open(path, os.O_RDWR) for path in paths)

    def begin(self, *, alone: bool) -> None:
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._running, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def end(self) -> None:
        for lock in (self._running, self._gate):
            fcntl.flock(lock, fcntl.LOCK_UN)


_LOCKS = pytest.StashKey[list[int]]()
_TURN = pytest.StashKey[Turn]()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give one worker all serial tests at the beginning: else each waits until those of the others end."""
    from xdist.scheduler import LoadFileScheduling

    scheduler = LoadFileScheduling(config, log)
    scheduler._split_scope = unit_of
    return scheduler


def unit_of(nodeid: str) -> str:
    """Return the unit of a test's id: those of one unit run in one worker."""
    path, _, name = nodeid.partition("::")
    return "serial" if name.partition("[")[0] in serial_tests(path) else path


@cache
def serial_tests(path: str) -> frozenset[str]:
    return frozenset(SERIAL.findall(Path(path).read_text()))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker of xdist the two locks: files in memory, which end with the process of the run."""
    stash = node.config.stash
    if _LOCKS not in stash:
        stash[_LOCKS] = [os.memfd_create(name) for name in ("gate", "running")]
    node.workerinput["locks"] = [f"/proc/{os.getpid()}/fd/{lock}" for lock in stash[_LOCKS]]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Prepare the turns, which a run without xdist does not need; its workers write no JUnit file."""
    xml = session.config.stash.get(xml_key, None)
    if xml is not None:
        xml.add_global_property("commit", installed_commit())
        xml.add_global_property("commit_of", commit_origin())
        xml.add_global_property("suite", WHOLE_SUITE if is_whole(session.config) else "a part of the suite")
    if workerinput := getattr(session.config, "workerinput", None):
        session.config.stash[_TURN] = Turn(workerinput["locks"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Run tests marked `serial` while no other worker runs one."""
    turn = item.config.stash.get(_TURN, None)
    if turn is None:
        return (yield)
    turn.begin(alone=is_serial(item))
    try:
        return (yield)
    finally:
        if nextitem is None or not is_serial(nextitem):
            turn.end()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the pass rate, and the ids that did not pass: one of their (sub)tests failed or was skipped."""
    results: dict[str, bool] = {}
    for report in chain(*terminalreporter.stats.values()):
        for name, value in report.user_properties if isinstance(report, pytest.TestReport) else ():
            if name == TEST_CASE:
                results[str(value)] = results.get(str(value), True) and report.passed
    if not results:
        return
    passed = sum(results.values())
    rate = passed / len(results)
    terminalreporter.write_line(f"test cases: {passed} of {len(results)} passed ({rate:.1%})")
    for name in sorted(results):
        if not results[name]:
            terminalreporter.write_line(f"  {name} did not pass")
