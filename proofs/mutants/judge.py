"""Put one mutant after the other into a copy of the tree, and run the tests that execute its line."""

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from proofs.mutants.coverage_of_tests import CoveringTests
from proofs.mutants.sample import (
    AT_IMPORT,
    CAUGHT,
    GONE,
    NO_RESULT,
    SURVIVED,
    TIMED_OUT,
    UNCOVERED,
    Mutant,
)
from sandbox.processes import Processes

LIMIT_SECONDS = 60.0
"""Of one mutant: all its runs of pytest together."""
STARTING_SECONDS = 15.0
"""Of the limit, what pytest and PostgreSQL may need before the first test."""
PASSED, NOT_FOUND = 0, 4
"""Exit codes of pytest: it ends with 4 if a test has gone since the coverage was measured."""
LEFT_OUT = ("tests/scripts/",)
"""Tests that install an environment for the copy."""


class Copy:
    """A copy of the committed tree, to change and to test."""

    def __init__(self, home: Path, processes: Processes) -> None:
        self.root = home
        self._processes = processes
        self._sound: dict[str, bool] = {}
        self._end = 0.0
        (home / ".mutants").mkdir()
        self._log = home / ".mutants" / "log"

    def judge(self, mutant: Mutant, covering: CoveringTests) -> None:
        """Set the mutant's verdict. Raises LookupError if its function or line is gone."""
        number, path = mutant.line_number(self.root), mutant.place(self.root).path
        line = path.relative_to(self.root), number
        tests = covering.of_line(*line, LIMIT_SECONDS - STARTING_SECONDS)
        is_partly = len(tests) < len(covering.of_line(*line, math.inf))
        tests = [test for test in tests if not test.startswith(LEFT_OUT) and self._exists(test)]
        if mutant.by in tests:
            tests.remove(mutant.by)
            tests.insert(0, mutant.by)
        started = time.monotonic()
        self._end = started + LIMIT_SECONDS
        try:
            mutant.verdict, mutant.by = self._verdict(mutant, path, tests)
        except subprocess.TimeoutExpired:
            mutant.verdict, mutant.by = TIMED_OUT, ""
        mutant.partly = is_partly and mutant.verdict == SURVIVED
        mutant.seconds = round(time.monotonic() - started, 1)
        mutant.digest = mutant.digest_in(self.root, _files(mutant, self.root, covering))

    def _exists(self, test: str) -> bool:
        path, _, name = test.partition("::")
        function = name.partition("[")[0].rpartition("::")[2]
        return (self.root / path).exists() and f"def {function}(" in (self.root / path).read_text("utf-8")

    def _verdict(self, mutant: Mutant, path: Path, tests: list[str]) -> tuple[str, str]:
        whole = path.read_text("utf-8")
        while tests:
            try:
                mutant.apply(self.root)
                code, failed = self._run(tests)
            finally:
                path.write_text(whole, "utf-8")
            if code == NOT_FOUND and self._run(["--collect-only", *tests])[0] == NOT_FOUND:
                functions = list(dict.fromkeys(test.partition("[")[0] for test in tests))
                tests = [] if functions == tests else functions  # a case has another name now
                continue
            if code == PASSED:
                return SURVIVED, ""
            if not failed:
                stands_in_trace = f"{path.relative_to(self.root)}:" in self._log.read_text(errors="replace")
                return (CAUGHT, AT_IMPORT) if stands_in_trace else (NO_RESULT, "")
            if self._is_sound(failed):
                return CAUGHT, failed
            tests = [test for test in tests if test != failed]
        return UNCOVERED, ""

    def _is_sound(self, test: str) -> bool:
        """Whether the test passes on the product as it is."""
        if test not in self._sound:
            self._sound[test] = self._run([test])[0] == PASSED
        return self._sound[test]

    def _run(self, tests: list[str]) -> tuple[int, str]:
        """Run tests up to the first failure; return the exit code and the failed test.

        Raises TimeoutExpired at the mutant's limit.
        """
        environment = {**os.environ, "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("DATABASE_URL", None)
        named = self.root / ".mutants" / "tests"
        named.write_text("\n".join(tests))
        with self._log.open("w") as output:
            process = self._processes.start(
                [sys.executable, "-m", "pytest", "-n0", "-q", "-x", "-p", "no:cacheprovider", f"@{named}"],
                cwd=self.root, env=environment, stdout=output, stderr=subprocess.STDOUT,
                stop_signal=signal.SIGINT,
            )  # fmt: skip
            try:
                code = process.wait(max(0.0, self._end - time.monotonic()))
            finally:
                self._processes.stop(process)
        return code, _failed(self._log.read_text(errors="replace"), tests)


def _failed(output: str, tests: list[str]) -> str:
    """Return the test that failed; one with subtests is named after their words."""
    lines = [line for line in output.splitlines() if re.match(r"(SUB)?(FAILED|ERROR)", line)]
    found = (test for line in lines for test in tests if f" {test}" in line)
    return max(found, key=len, default="")


def is_current(mutant: Mutant, root: Path, covering: CoveringTests) -> bool:
    """Whether the verdict holds: its function is as it was, and so are the tests that it depends on."""
    with suppress(LookupError):
        digest = mutant.digest_in(root, _files(mutant, root, covering))
        return mutant.verdict in (CAUGHT, SURVIVED) and mutant.digest == digest
    return False


def _files(mutant: Mutant, root: Path, covering: CoveringTests) -> list[str]:
    """The test files that a verdict depends on: the catching test's, else of all that execute the line."""
    if mutant.by:
        return [mutant.by.partition("::")[0]]
    return covering.files_of_line(mutant.place(root).path.relative_to(root), mutant.line_number(root))


def judge_all(
    mutants: list[Mutant], covering: CoveringTests, processes: Processes, workers: int, seconds: float
) -> Iterator[Mutant]:
    """Judge mutants in `workers` copies at once, and begin no more after `seconds`. Yield each judged one."""
    end = time.monotonic() + seconds
    home = processes.directory("mutants-")
    copies: SimpleQueue[Copy] = SimpleQueue()
    for number in range(workers):
        folder = home / str(number)
        subprocess.run(["git", "clone", "--quiet", "--shared", str(covering.root), str(folder)], check=True)
        copies.put(Copy(folder, processes))

    def judge(mutant: Mutant) -> Mutant | None:
        if time.monotonic() > end:
            return None
        copy = copies.get()
        try:
            copy.judge(mutant, covering)
        except LookupError:
            mutant.verdict = GONE
        finally:
            copies.put(copy)
        return mutant

    pool = ThreadPoolExecutor(workers)
    try:
        for judged in as_completed([pool.submit(judge, mutant) for mutant in mutants]):
            if (mutant := judged.result()) is not None:
                yield mutant
    finally:
        pool.shutdown(cancel_futures=True)
