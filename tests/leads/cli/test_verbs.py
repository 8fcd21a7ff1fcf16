"""All verbs: the same shape of help, one table of exit codes, a module, a test and a heading for each."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from leads.cli.__main__ import app
from leads.cli.exit_codes import MEANINGS

ROOT = Path(__file__).parents[3]
ROOT_COMMAND: Any = typer.main.get_command(app)
VERBS: list[str] = list(ROOT_COMMAND.commands)
COMMANDS: list[tuple[str, ...]] = [
    (verb, name) if name else (verb,)
    for verb, command in ROOT_COMMAND.commands.items()
    for name in getattr(command, "commands", None) or [""]
]
WITHOUT_OPTION = {("serve",), ("edge-spool", "show")}
"""Commands that always print JSON: log lines, and one delivery."""

MAX_COLUMNS = 80


def read_help(*words: str) -> str:
    result = CliRunner().invoke(
        app, [*words, "--help"], prog_name="leads", env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def module(verb: str) -> str:
    return verb.replace("-", "_")


def test_the_verbs_are_those_of_the_operators() -> None:
    assert VERBS == [
        "serve",
        "token",
        "replay",
        "trace",
        "reconcile",
        "backfill-phones",
        "history",
        "erase",
        "report",
        "status",
        "doctor",
        "tail",
        "connection",
        "switch",
        "metadata",
        "alert",
        "cron",
        "config",
        "edge-spool",
        "tickets",
        "golive",
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_a_module_a_test_and_a_heading_of_its_name(verb: str) -> None:
    folder = ROOT / "leads" / "cli"
    assert (folder / f"{module(verb)}.py").is_file() or (folder / module(verb) / "command.py").is_file()
    assert (ROOT / "tests" / "leads" / "cli" / f"test_{module(verb)}.py").is_file()
    assert f"\n## leads {verb}\n" in (ROOT / "docs" / "cli.md").read_text("utf-8")


def test_every_module_is_a_verb_or_shared_by_all() -> None:
    shared = {
        "__init__",
        "__main__",
        "changes",
        "exit_codes",
        "failure_texts",
        "failures",
        "loading",
        "output",
        "plot",
        "probes",
        "usage_texts",
    }
    found = {path.stem for path in (ROOT / "leads" / "cli").iterdir() if path.stem != "__pycache__"}
    assert found == shared | {module(verb) for verb in VERBS}


@pytest.mark.parametrize("command", [*((verb,) for verb in VERBS), *COMMANDS], ids=" ".join)
def test_the_help_has_an_example_and_points_to_the_exit_codes(command: tuple[str, ...]) -> None:
    said = read_help(*command)
    assert f"Usage: leads {' '.join(command)} " in said
    assert re.search(rf"^    leads {' '.join(command)}\b", said, re.MULTILINE), said
    assert "The exit codes are listed by: leads --help" in said


@pytest.mark.parametrize("command", [(), *((verb,) for verb in VERBS), *COMMANDS], ids=" ".join)
def test_the_help_fits_into_80_columns(command: tuple[str, ...]) -> None:
    assert [line for line in read_help(*command).splitlines() if len(line) > MAX_COLUMNS] == []


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_a_form_for_programs(command: tuple[str, ...]) -> None:
    assert ("--json" in read_help(*command)) is (command not in WITHOUT_OPTION)


def test_the_exit_codes_are_in_the_help_and_in_the_documentation() -> None:
    said, page = read_help(), (ROOT / "docs" / "cli.md").read_text("utf-8")
    for code, meaning in MEANINGS.items():
        assert re.search(rf"^ +{code}  {meaning}$", said, re.MULTILINE)
        assert f"| {code} | {meaning} |" in page


def test_a_command_imports_no_module_of_another_verb() -> None:
    program = (
        "import sys\n"
        "from leads.cli.__main__ import VERBS, app\n"
        "app(['token', '--help'], standalone_mode=False)\n"
        "own = {verb.target.partition(':')[0] for verb in VERBS.values()}\n"
        "print(*own & sys.modules.keys())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "leads.cli.token"


def test_who_looks_for_the_samples_is_sent_to_the_sandbox() -> None:
    result = CliRunner().invoke(app, ["send", "happy"], prog_name="leads")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "scripts/sandbox send happy|no-phone|duplicate|FILE" in result.stderr


def test_the_codes_that_typer_gives_by_itself_are_those_of_the_table() -> None:
    for words in (["nonsense"], ["replay", "--nonsense"], ["connection"], ["token", "admin"]):
        assert CliRunner().invoke(app, words).exit_code == 2, words


@pytest.mark.parametrize(
    ("shell", "expected"),
    [("bash", "connection"), ("zsh", "connection"), ("fish", "connection")],
)
def test_a_shell_completes_verbs(shell: str, expected: str) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "_LEADS_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "leads conn",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "leads conn",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    completed = subprocess.run(
        [sys.executable, "-m", "leads.cli"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert expected in completed.stdout, completed.stderr


def test_the_environment_is_read_in_one_module() -> None:
    """`envvar` is the argument with which typer would read it."""
    reads = re.compile(r"\bos\.(environ|getenv)\b|from os import .*(environ|getenv)|\benvvar\s*=")
    found = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "leads").rglob("*.py")
        if reads.search(path.read_text("utf-8"))
    ]
    assert found == ["leads/adapters/settings.py"]
