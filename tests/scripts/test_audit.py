"""`scripts/audit` with programs in the place of pip-audit and the SBOM generator: no service is asked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """#!/bin/sh
case "$2" in
    cyclonedx_py) for last; do :; done; echo '{}' >"$last" ;;
    pip_audit) cat "$(dirname "$0")/report"; exit $(cat "$(dirname "$0")/code") ;;
    *) exec %s "$@" ;;
esac
"""
CLEAN = {"name": "one", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "two", "skip_reason": "Dependency not found"}
VULNERABLE = {
    "name": "three",
    "version": "3.0",
    "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["3.1"], "aliases": [], "description": ""}],
}


def run(folder: Path, report: str, code: int) -> subprocess.CompletedProcess[str]:
    python = folder / "python"
    python.write_text(PROGRAM % sys.executable)
    python.chmod(0o755)
    (folder / "report").write_text(report)
    (folder / "code").write_text(str(code))
    return subprocess.run(
        [ROOT / "scripts" / "audit", folder / "sbom.json"],
        env={"PATH": "/usr/bin:/bin", "AUDIT_PYTHON": str(python)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def as_report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize(
    ("report", "code", "expected", "said"),
    [
        (as_report(CLEAN), 0, 0, "Checked 1 of 1 packages, 0 known vulnerabilities."),
        (as_report(CLEAN, VULNERABLE), 1, 1, "three 3.0: PYSEC-2026-1, fixed in 3.1"),
        (as_report(CLEAN, UNKNOWN), 0, 0, "NOT CHECKED, because the service did not know them: two"),
        ("", 1, 0, "NOT CHECKED for known vulnerabilities: the service could not be reached."),
        ("Traceback", 1, 0, "NOT CHECKED for known vulnerabilities: the service could not be reached."),
    ],
)
def test_it_fails_for_a_finding_only_and_says_what_was_not_checked(
    tmp_path: Path, report: str, code: int, expected: int, said: str
) -> None:
    done = run(tmp_path, report, code)
    assert done.returncode == expected, done.stderr
    assert said in done.stdout + done.stderr
    assert (tmp_path / "sbom.json").exists()


def test_an_unknown_option_is_refused() -> None:
    done = subprocess.run([ROOT / "scripts" / "audit", "--now"], capture_output=True, check=False, timeout=30)
    assert done.returncode == 2
