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
    if (found := re.search(r"^exec python -m (\S+)", path.read_text("utf-8"), re.M))
}


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


def test_every_command_but_the_two_for_developers_is_a_module() -> None:
    names = {path.name for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix}
    assert names - MODULES.keys() == {"_environment", "check", "test"}


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


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "The handlers do not start: DATABASE_URL is not set; ENCRYPTION_KEYS"),
        ({"BIND": "8000x"}, "The handlers do not start: BIND is not an address and a port."),
    ],
)
def test_the_handlers_say_in_a_sentence_why_they_do_not_start(variables: dict[str, str], words: str) -> None:
    said = run(sys.executable, "-m", "scripts.serving", **variables)
    assert said.returncode == 2
    assert said.stderr.startswith(words)
    assert "Traceback" not in said.stderr


def test_what_is_not_set_is_named() -> None:
    said = run(sys.executable, "-m", "scripts.metadata", "verify", HASURA_URL="http://127.0.0.1:9")
    assert (said.returncode, said.stderr) == (2, "HASURA_ADMIN_SECRET is not set.\n")
