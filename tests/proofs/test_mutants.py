"""The generated mutants: where one is, which tests judge it, what the report says; which SQL was executed."""

import ast
import re
import subprocess
import textwrap
import time
from collections import defaultdict
from dataclasses import replace
from functools import partial
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import coverage
import psycopg
import pytest
from rich.console import Console

from leads.adapters.database import Database
from ops.clients.db_session import QUERIES
from proofs.mutants import sql_coverage
from proofs.mutants.__main__ import print_report
from proofs.mutants.coverage_of_tests import CoveringTests
from proofs.mutants.judge import Copy, is_current
from proofs.mutants.places import MIGRATIONS
from proofs.mutants.sample import (
    AT_IMPORT,
    CAUGHT,
    NO_RESULT,
    SURVIVED,
    TIMED_OUT,
    Mutant,
    read_sample,
    shares,
    write_sample,
)

ROOT = Path(__file__).parents[2]
MODULE = """\
class Door:
    @property
    def is_open(self) -> bool:
        if self.handle:
            return True
        return True
"""
MUTANT = Mutant("module:Door.is_open", "ReplaceTrueWithFalse", "return True", "return False", nth=1)
LINE = 6
A1, A2, B1 = "tests/test_a.py::test_1", "tests/test_a.py::test_2", "tests/test_b.py::test_1"


def test_a_mutant_changes_its_line_only_and_is_found_again_after_the_file_changed(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(MODULE)
    digest = MUTANT.digest_in(tmp_path, [])
    for text in (MODULE, "# a new first line\n" + MODULE):
        (tmp_path / "module.py").write_text(text)
        assert MUTANT.digest_in(tmp_path, []) == digest
        MUTANT.apply(tmp_path)
        assert (tmp_path / "module.py").read_text() == text.removesuffix("True\n") + "False\n"
    with pytest.raises(LookupError, match="no line"):
        MUTANT.apply(tmp_path)


def test_the_sample_is_spread_over_the_product_and_its_verdicts_are_kept(tmp_path: Path) -> None:
    sample = read_sample()
    assert len(sample) >= 200
    assert len({mutant.key for mutant in sample}) == len(sample)
    for mutant in sample:
        place = mutant.place(ROOT)
        (function,) = ast.parse(textwrap.dedent(place.text)).body
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        assert place.first + function.body[0].lineno <= mutant.line_number(ROOT), "it runs at import"
    sample[0].verdict, sample[1].verdict, sample[1].equivalent = CAUGHT, SURVIVED, "a cache"
    write_sample(sample, tmp_path / "sample.yaml")
    assert read_sample(tmp_path / "sample.yaml") == sample
    assert sum(shares(sample[:2])["app"].values()) == 2
    assert shares(sample[:2])["app"]["equivalent"] == 1


@pytest.fixture
def covering(tmp_path: Path) -> CoveringTests:
    """Three tests of two files execute the mutant's line of a tree, one of them in a process it starts."""
    (tmp_path / "module.py").write_text(MODULE)
    (tmp_path / "tests").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"tests/test_{name}.py").write_text("def test_1(): ...\ndef test_2(): ...\n")
    data = coverage.CoverageData(str(tmp_path / "data"))
    for context in ("", A1, f"{A2} (call)", B1):
        data.set_context(context)
        data.add_lines({str(tmp_path / "module.py"): [LINE]})
    return CoveringTests(data, tmp_path, defaultdict(lambda: 1.0, {A1: 3.0, A2: 2.0, B1: 9.0}))


def test_the_cheapest_tests_go_first_within_the_limit(covering: CoveringTests) -> None:
    path = Path("module.py")
    assert covering.of_line(path, LINE, 60) == [A2, A1, B1]
    assert covering.of_line(path, LINE, 13) == [A2, A1]
    assert covering.of_line(path, LINE, 1) == [A2], "one is always tried"
    assert covering.of_line(path, LINE + 1, 60) == []
    assert covering.files_of_line(path, LINE) == ["tests/test_a.py", "tests/test_b.py"]


def test_the_script_reports_on_the_stored_sample() -> None:
    command = ["scripts/mutants", "report"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "leads.domain" in done.stdout, done.stderr


class Runner:
    """Stands for pytest: tests of a file fail on the mutant, some always, some take a while."""

    def __init__(
        self, root: Path, *, failing: str = "", broken: str = "", error: str = "", seconds: float = 0
    ) -> None:
        self.root, self.failing, self.broken, self.seconds = root, failing, broken, seconds
        self.error = error
        self.waits: list[float] = []

    def start(self, command: list[str], *, stdout: Any, **_: object) -> "Runner":
        tests = (self.root / ".mutants" / "tests").read_text().split()
        is_mutant = MUTANT.becomes in (self.root / "module.py").read_text()
        failed = next((t for t in tests if t == self.broken or (is_mutant and t == self.failing)), "")
        stdout.write(f"FAILED {failed} - assert\n" if failed else self.error)
        self.code = 1 if failed else 2 * bool(self.error)
        return self

    def wait(self, seconds: float) -> int:
        self.waits.append(seconds)
        if self.seconds > seconds:
            raise subprocess.TimeoutExpired("pytest", seconds)
        return self.code

    def stop(self, _: object) -> None: ...


@pytest.mark.parametrize(
    ("tests", "verdict", "by"),
    [
        ({"failing": B1}, CAUGHT, B1),
        ({}, SURVIVED, ""),
        ({"broken": B1}, SURVIVED, ""),
        ({"broken": A2, "failing": B1}, CAUGHT, B1),
        ({"failing": B1, "seconds": 61}, TIMED_OUT, ""),
        ({"error": "tests/test_a.py:1: in <module>\nmodule.py:6: in <module>"}, CAUGHT, AT_IMPORT),
        ({"error": "INTERNALERROR> no space left on the device"}, NO_RESULT, ""),
    ],
)
def test_a_fault_is_caught_by_a_test_that_passes_without_it(
    covering: CoveringTests, tests: dict[str, Any], verdict: str, by: str
) -> None:
    mutant, runner = replace(MUTANT), Runner(covering.root, **tests)
    Copy(covering.root, runner).judge(mutant, covering)  # type: ignore[arg-type]
    assert (mutant.verdict, mutant.by) == (verdict, by)
    assert (covering.root / "module.py").read_text() == MODULE
    assert is_current(mutant, covering.root, covering) == (verdict in (CAUGHT, SURVIVED))
    (covering.root / "tests/test_a.py").write_text("def test_1(): assert True\n")
    assert is_current(mutant, covering.root, covering) == (verdict == CAUGHT), "a survivor has another test"
    (covering.root / "tests/test_b.py").write_text("def test_1(): assert True\n")
    assert is_current(mutant, covering.root, covering) == (by == AT_IMPORT)


def test_a_survivor_says_whether_a_test_was_left_out(covering: CoveringTests) -> None:
    copy = Copy(covering.root, Runner(covering.root))  # type: ignore[arg-type]
    for seconds, is_partly in ((3.0, False), (60.0, True)):
        covering.seconds[A1], mutant = seconds, replace(MUTANT)
        copy.judge(mutant, covering)
        assert (mutant.verdict, mutant.partly) == (SURVIVED, is_partly)


def test_all_runs_for_one_mutant_share_its_limit(
    covering: CoveringTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count(0, 10)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    runner = Runner(covering.root, broken=A2, failing=B1)
    Copy(covering.root, runner).judge(replace(MUTANT), covering)  # type: ignore[arg-type]
    assert runner.waits == [50, 40, 30, 20], "with the mutant, without it, and both once more"


def test_the_coverage_of_another_product_is_refused(tmp_path: Path) -> None:
    git = partial(subprocess.check_output, cwd=tmp_path, text=True)
    (tmp_path / "app.py").write_text("1\n")
    git(["git", "init", "--quiet"])
    git(["git", "add", "app.py"])
    with pytest.raises(LookupError, match="not measured"):
        CoveringTests.read(tmp_path, tmp_path)
    coverage.CoverageData(str(tmp_path / "data")).add_lines({"app.py": [1]})
    (tmp_path / "times.json").write_text('{"test": 3.0}')
    (tmp_path / "commit").write_text(git(["git", "write-tree"]))
    assert CoveringTests.read(tmp_path, tmp_path).seconds == {"test": 3.0}
    (tmp_path / "app.py").write_text("2\n")
    with pytest.raises(LookupError, match="the product changed since"):
        CoveringTests.read(tmp_path, tmp_path)


def sample_of(*verdicts: str) -> list[Mutant]:
    return [Mutant(f"leads.domain.m{n}:f{n}", "AddNot", "", "", verdict=v) for n, v in enumerate(verdicts, 1)]


def reported(sample: list[Mutant], **options: Any) -> tuple[bool, str]:
    output = StringIO()
    return print_report(sample, Console(file=output, width=200), **options), output.getvalue()


def test_a_report_is_good_if_each_mutant_is_caught_or_explained() -> None:
    assert reported(sample_of(CAUGHT))[0]
    assert not reported(sample_of(CAUGHT, ""))[0], "one has no verdict"
    sample = sample_of(CAUGHT, SURVIVED)
    is_good, text = reported(sample, by_module=True)
    assert not is_good
    assert "survived: leads.domain.m2:f2" in text
    assert re.search("leads.domain.m1 .* 100.0%", text)
    sample[1].known = "no caller uses it"
    assert reported(sample)[0]


def test_what_an_earlier_sample_caught_and_this_one_does_not_is_named() -> None:
    before = sample_of(CAUGHT, SURVIVED, CAUGHT)
    now = [replace(each, known="left") for each in sample_of(CAUGHT, SURVIVED, TIMED_OUT)]
    now[1].function = "leads.domain.elsewhere:f2"
    is_good, text = reported(now, before=before)
    assert not is_good
    assert "leads.domain: before 66.7%, now 33.3%" in text
    assert "leads.domain.m3: before 100.0%, now 0.0%" in reported(now, before=before, by_module=True)[1]
    assert re.findall("^new: .*", text, re.M) == ["new: timed out: leads.domain.m3:f3"]
    assert reported(before, before=before)[1].count("new") == 0


@pytest.mark.own_database
async def test_what_was_executed_is_recorded_not_what_was_looked_up_or_explained(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_coverage, "executed", executed := set[bytes]())
    monkeypatch.setattr(sql_coverage, "called", called := set[str]())
    sql_coverage.record(monkeypatch.setattr)
    async with Database(database).exclusive("test"):
        pass
    assert {QUERIES["database/try_lock"], QUERIES["database/unlock"]} <= executed
    text = QUERIES["golive/lock_deploy"]
    with psycopg.connect(database) as session:
        session.execute(b"EXPLAIN " + text)
        assert text not in executed
        session.execute(text)
        session.execute("SET track_functions = 'all'")
        with pytest.raises(psycopg.errors.RestrictViolation):
            session.execute("TRUNCATE pancake_webhook_event")
    assert text in executed
    sql_coverage._read(database)
    assert "pancake_webhook_event_keep_rows" in called


def test_a_function_in_sql_counts_by_its_name_in_what_was_executed(tmp_path: Path) -> None:
    bodies = {"f1": "plpgsql AS 'f2';", "f2": "sql AS 'f3';", "f3": "sql;", "f4": "plpgsql AS 'f5';"}
    migration = tmp_path / MIGRATIONS / "1" / "up.sql"
    migration.parent.mkdir(parents=True)
    migration.write_text("\n".join(f"CREATE FUNCTION x.{n}() LANGUAGE {b}\n" for n, b in bodies.items()))
    (tmp_path / "statements-gw0").write_text("\n".join(list(QUERIES)[1:]))
    (tmp_path / "functions-gw0").write_text("f1")
    assert list(sql_coverage.unexecuted(tmp_path, tmp_path)) == [next(iter(QUERIES)), "f4()"]
