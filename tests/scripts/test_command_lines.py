"""The commands' own words: how they introduce themselves, and what they say to what they cannot do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {
    path.name: found[1]
    for path in sorted((ROOT / "scripts").iterdir())
    if path.is_file() and not path.suffix
    if (found := re.search(r"^exec python -m (sandbox(?:\.\S+)?) ", path.read_text("utf-8"), re.M))
}
OPERATORS = {"leads": "leads.cli", "backfill_normalized_phone": "leads.cli backfill-phones"}

SHELL = {"_env_file", "_environment", "audit", "check", "pin_images", "read_env", "test"}


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command with nothing in its environment but what it needs to start."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "120"} | variables
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", MODULES)
def test_a_command_calls_itself_by_the_name_that_a_person_types(name: str) -> None:
    said = run(sys.executable, "-m", MODULES[name], "--help")
    assert said.returncode == 0
    assert f"Usage: scripts/{name}" in said.stdout


def test_every_other_command_is_a_module() -> None:
    names = {path.name for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix}
    assert names - MODULES.keys() - OPERATORS.keys() == SHELL


@pytest.mark.parametrize("name", OPERATORS)
def test_the_commands_of_operators_run_the_cli(name: str) -> None:
    assert f'exec python -m {OPERATORS[name]} "$@"' in (ROOT / "scripts" / name).read_text("utf-8")


@pytest.mark.parametrize("words", [["--nope"], ["--fix", "--nope"], ["domain"]])
def test_check_refuses_words_that_it_does_not_know(words: list[str]) -> None:
    """Exit code 2 before anything is looked at."""
    said = run("scripts/check", *words)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("usage: scripts/check")


def test_the_tests_explain_themselves_wherever_help_stands() -> None:
    said = run("scripts/test", "-q", "--help")
    assert said.returncode == 0
    assert said.stdout.startswith("usage: scripts/test")
