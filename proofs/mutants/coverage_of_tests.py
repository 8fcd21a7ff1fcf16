"""Which tests execute which line, and how long each takes: from one run of the suite under coverage."""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import coverage
import pytest

FOLDER = Path(__file__).parents[2] / ".mutants"
TIMES, COMMIT = "times.json", "commit"
PRODUCT = ("app.py", "cron", "handlers", "leads", "ops")
SETTINGS = """\
[run]
branch = true
parallel = true
data_file = {folder}/data
# Of a process that a test starts. pytest itself sets the context of each test.
context = ${{PYTEST_CURRENT_TEST-}}
include =
{include}
disable_warnings = no-data-collected, module-not-measured, module-not-imported, already-imported
"""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Name the test whose lines are recorded. This module is a plugin of the measured run."""
    current = coverage.Coverage.current()
    if current is not None:
        current.switch_context(item.nodeid)
    return (yield)


_seconds: dict[str, float] = defaultdict(float)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up how long each test takes; with xdist its controller sees the reports of all."""
    _seconds[report.nodeid] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the times of the tests."""
    if not hasattr(session.config, "workerinput"):
        (FOLDER / TIMES).write_text(json.dumps(_seconds))


def measure(root: Path, arguments: list[str]) -> int:
    """Run pytest on the tree under coverage, into FOLDER; return its exit code."""
    FOLDER.mkdir(exist_ok=True)
    for path in (path for name in ("data", "statements-", "functions-") for path in FOLDER.glob(f"{name}*")):
        path.unlink()
    with (FOLDER / COMMIT).open("w") as output:
        subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, check=True, stdout=output)
    include = "\n".join(f"    {root / name}{'' if name.endswith('.py') else '/*'}" for name in PRODUCT)
    settings = FOLDER / "coveragerc"
    settings.write_text(SETTINGS.format(folder=FOLDER, include=include))
    environment = {**os.environ, "COVERAGE_PROCESS_START": str(settings), "PYTHONPATH": str(root)}
    environment.pop("DATABASE_URL", None)  # only servers of our own count the calls of functions
    command = [
        sys.executable, "-m", "pytest", "-p", "tests.support.suites", "-p", __name__,
        "-p", "proofs.mutants.sql_coverage", "-q", *arguments,
    ]  # fmt: skip
    code = subprocess.run(command, cwd=root, env=environment, check=False).returncode
    subprocess.run(
        [sys.executable, "-m", "coverage", "combine", "--quiet", f"--rcfile={settings}"], cwd=root, check=True
    )
    return code


def branch_coverage(root: Path, pattern: str) -> float:
    """Return the percentage of lines and branches of a pattern's files that the measured run executed."""
    command = [sys.executable, "-m", "coverage", "report", f"--rcfile={FOLDER / 'coveragerc'}"]
    options = ["--format=total", "--precision=2", f"--include={pattern}"]
    done = subprocess.run([*command, *options], cwd=root, check=True, capture_output=True, text=True)
    return float(done.stdout)


@dataclass(frozen=True)
class CoveringTests:
    """The lines that each test executed, and the seconds of each test."""

    data: coverage.CoverageData
    root: Path
    seconds: defaultdict[str, float]

    @classmethod
    def read(cls, root: Path, folder: Path = FOLDER) -> "CoveringTests":
        """Read what `measure` wrote. Raises LookupError if the product changed since, or it did not run."""
        if not all((folder / name).exists() for name in ("data", TIMES, COMMIT)):
            raise LookupError("the coverage was not measured")
        commit = (folder / COMMIT).read_text().strip()
        differences = ["git", "diff", "--quiet", commit, "--", *PRODUCT]
        if subprocess.run(differences, cwd=root, check=False).returncode != 0:
            raise LookupError(f"the product changed since {commit[:8]}, of which the coverage was measured")
        data = coverage.CoverageData(str(folder / "data"))
        data.read()
        return cls(data, root, defaultdict(lambda: 1.0, json.loads((folder / TIMES).read_text())))

    def files_of_line(self, path: Path, line: int) -> list[str]:
        """Return the files of all tests that execute a line."""
        return sorted({test.partition("::")[0] for test in self._of_line(path, line)})

    def of_line(self, path: Path, line: int, limit_seconds: float) -> list[str]:
        """Return tests that execute a line, the cheapest first, for at most `limit_seconds` together.

        Those of the module's own test file go before all others.
        """
        tests = self._of_line(path, line)
        chosen: list[str] = []
        left = limit_seconds
        for test in sorted(tests, key=lambda test: (path.stem not in test, self.seconds[test], test)):
            left -= self.seconds[test]
            if left < 0 and chosen:
                break
            chosen.append(test)
        return chosen

    def _of_line(self, path: Path, line: int) -> set[str]:
        contexts = self.data.contexts_by_lineno(str(self.root / path)).get(line, [])
        return {test for context in contexts if (test := _test(context))}


def _test(context: str) -> str:
    """The test of a context; that of a process that a test started ends with its phase, like ` (call)`."""
    return re.sub(r" \((setup|call|teardown)\)(\|.*)?$", "", context)
