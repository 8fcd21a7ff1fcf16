"""A run with `--junit` says which test cases passed: in its output, and in the file that decides a gate."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from leads.cli.golive.evidence import read_evidence_file
from leads.cli.golive.load import load_criteria

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

@pytest.mark.test_case("TC-013-003")
@pytest.mark.parametrize("number", [1, 2])
def test_a(number):
    assert number == 1

@pytest.mark.test_case("TC-013-004")
def test_b():
    pass

@pytest.mark.test_case("TC-013-005")
@pytest.mark.skipif(True, reason="needs something")
def test_c():
    pass
"""


def test_a_failed_and_a_skipped_test_are_named_and_do_not_pass(tmp_path: Path) -> None:
    """Run in a process of xdist, as scripts/test does."""
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = test_case(id): id\n")
    file = tmp_path / "junit.xml"
    words = ["-p", "tests.support.suites", "-p", "no:cacheprovider", f"--junit-xml={file}", "-n", "1"]
    output = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(tmp_path)],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    assert "test cases: 1 of 3 passed (33.3%)" in output
    assert "TC-013-003 did not pass" in output
    criterion = next(each for each in load_criteria() if each.id == "test-cases-breaker-W3")
    found = read_evidence_file(criterion, file.read_bytes())
    assert (found.total, found.bad) == (3, 2)
    assert found.details == "failed: TC-013-003 TC-013-005"
    (suite,) = ElementTree.fromstring(file.read_bytes()).findall("testsuite")
    (commit,) = [each.get("value") for each in suite.iterfind("properties/property")]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert str(commit).endswith(head.stdout.strip())
