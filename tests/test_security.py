"""docs/security.md: the numbers of tests that it states are those that pytest collects."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
ROW = re.compile(r"^\| .* \| \[`(?P<file>[\w/.]+)`\]\(\.\./(?P=file)\) \| (?P<count>\d+) \|$", re.MULTILINE)
TIMEOUT_SECONDS = 120


def stated() -> dict[str, int]:
    """Return the number of tests that the page states for each file."""
    return {file: int(count) for file, count in ROW.findall(PAGE.read_text("utf-8"))}


def test_the_numbers_of_tests_are_right() -> None:
    """If it fails, write the collected numbers into the table."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", *stated()]
    output = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True
    ).stdout
    collected = {file: int(count) for file, count in re.findall(r"^([\w/.]+): (\d+)$", output, re.MULTILINE)}
    assert stated() == collected


def test_the_page_names_every_file_of_attacks() -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for word in ("hostile", "forged", "bombs")
        for path in (ROOT / "tests").rglob(f"test_*{word}*.py")
    }
    assert files
    assert files <= set(stated())
