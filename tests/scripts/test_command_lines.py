"""The usage messages of the scripts, and their errors for wrong arguments or a missing configuration."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fast_lane import SLOW_PATHS

ROOT = Path(__file__).parents[2]
MODULES = {
    path.name: found[1]
    for path in sorted((ROOT / "scripts").iterdir())
    if path.is_file() and not path.suffix
    if (found := re.search(r"^exec python -m (\S+)", path.read_text("utf-8"), re.M))
}


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with only the variables that it needs to start."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "120"} | variables
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", MODULES)
def test_the_usage_names_the_script(name: str) -> None:
    done = run(sys.executable, "-m", MODULES[name], "--help")
    assert done.returncode == 0
    assert f"Usage: scripts/{name}" in done.stdout


def test_every_script_but_check_and_test_starts_a_module() -> None:
    names = {path.name for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix}
    assert names - MODULES.keys() == {"_environment", "check", "test"}


@pytest.mark.parametrize("arguments", [["--nope"], ["--fix", "--nope"], ["domain"]])
def test_check_rejects_unknown_arguments(arguments: list[str]) -> None:
    """With exit code 2, before it checks anything."""
    done = run("scripts/check", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: scripts/check")


def test_help_of_the_tests_works_at_any_position() -> None:
    done = run("scripts/test", "-q", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: scripts/test")


def test_the_suites_of_the_tests_exclude_each_other() -> None:
    done = run("scripts/test", "--fast", "--engine")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("--fast and --engine exclude each other.\nusage: scripts/test")


def test_the_fast_suite_leaves_out_paths_that_exist() -> None:
    assert [path for path in SLOW_PATHS if not (ROOT / path).exists()] == []


def test_every_shell_script_has_a_help() -> None:
    for command in (".ci/run", "scripts/check", "scripts/test", "scripts/lock/update"):
        done = run(f"./{command}", "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: {command}")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "The handlers do not start: DATABASE_URL is not set; ENCRYPTION_KEYS"),
        ({"BIND": "8000x"}, "The handlers do not start: BIND is not an address and a port."),
    ],
)
def test_serve_reports_a_missing_or_invalid_variable_in_one_sentence(
    variables: dict[str, str], words: str
) -> None:
    done = run(sys.executable, "-m", "scripts.serving", **variables)
    assert done.returncode == 2
    assert done.stderr.startswith(words)
    assert "Traceback" not in done.stderr


def test_a_missing_variable_is_named() -> None:
    done = run(sys.executable, "-m", "scripts.metadata", "verify", HASURA_URL="http://127.0.0.1:9")
    assert (done.returncode, done.stderr) == (2, "HASURA_ADMIN_SECRET is not set.\n")
