"""Every test case of the checklist has a title and a test; the JUnit file says which passed."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from leads.cli.golive.evidence import read_evidence_file
from leads.cli.golive.load import load_criteria
from tests.support.golive_evidence import CASES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "test-cases.md"
TESTS = """
import pytest

@pytest.mark.test_case("TC-013-003")
@pytest.mark.parametrize("number", [1, 2])
def test_a(number):
    assert number == {number}

@pytest.mark.test_case("TC-013-004")
def test_b():
    pass

@pytest.mark.test_case("TC-013-005")
@pytest.mark.skipif({skips}, reason="needs something")
def test_c():
    pass
"""


def marked() -> Iterator[tuple[str, str]]:
    """Each mark: its id and the test."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            for mark in getattr(node, "decorator_list", []):
                found = re.fullmatch(r"pytest\.mark\.test_case\('(.+)'\)", ast.unparse(mark))
                if found:
                    yield found[1], f"{path.stem}::{getattr(node, 'name', '')}"


def test_every_test_case_has_a_test_and_no_other_is_marked() -> None:
    assert {case for case, _ in marked()} == set(CASES)


def test_every_test_case_has_a_title() -> None:
    titles = re.findall(r"^\| (TC-[\d-]+) \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(case for case, _ in titles) == sorted(CASES)
    assert len({title for _, title in titles}) == len(CASES)


def run(folder: Path, number: str, skips: bool, *options: str) -> tuple[str, bytes]:
    """Run three tests as scripts/test --junit does; return its output and the file."""
    (folder / "test_it.py").write_text(TESTS.format(number=number, skips=skips))
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = test_case(id): id\n")
    file = folder / "junit.xml"
    words = ["-p", "tests.support.case_ids", "-p", "no:cacheprovider", f"--junit-xml={file}", *options]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(folder)],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout, file.read_bytes()


def test_the_file_decides_the_criterion(tmp_path: Path) -> None:
    """Written by two processes, as scripts/test does."""
    criterion = next(each for each in load_criteria() if each.id == "test-cases-breaker-W3")
    output, file = run(tmp_path, "number", False, "-n", "2")
    assert "test cases: 3 of 3 passed (100.0%)" in output
    assert read_evidence_file(criterion, file).value == 1
    (suite,) = ElementTree.fromstring(file).findall("testsuite")
    commits = [each.get("value") for each in suite.iterfind("properties/property")]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert len(commits) == 1
    assert str(commits[0]).endswith(head.stdout.strip())


def test_a_failed_and_a_skipped_test_are_named_and_do_not_pass(tmp_path: Path) -> None:
    criterion = next(each for each in load_criteria() if each.id == "test-cases-breaker-W3")
    output, file = run(tmp_path, "1", True)
    assert "test cases: 1 of 3 passed (33.3%)" in output
    assert "TC-013-003 did not pass" in output
    found = read_evidence_file(criterion, file)
    assert (found.total, found.bad) == (3, 2)
    assert found.details == "failed: TC-013-003 TC-013-005"


def test_the_option_needs_a_file_and_the_product_s_tests() -> None:
    environment = {"PATH": os.environ["PATH"]}
    for words, message in (
        (["--junit"], "--junit needs a file."),
        (["--engine", "--junit", "x.xml"], "--junit and --engine exclude each other."),
    ):
        done = subprocess.run(
            ["scripts/test", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{message}\n")
