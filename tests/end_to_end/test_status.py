"""Break one part after the other of a running system: `leads status` names the cause within 3 s.

The table of docs/status.md is made here: with WRITE_DOCS set the test writes it, else it has to be current.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from leads.cli.__main__ import app
from leads.services.cron_runs import CRONS
from sandbox.stack.stack import Sandbox
from tests.support.breakages import BREAKAGES, Breakage
from tests.support.breaking import Installation
from tests.support.end_to_end import EndToEndHarness
from tests.support.ending_command import ends_with_command

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "status.md"
BEGIN, END = "| part that is broken |", "\n\n"
MAX_SECONDS = 3.0
NAMED = [each for each in BREAKAGES if each.line]
CHANGING = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"), "2026-05-14 09:20 UTC"),
    (re.compile(r"https?://127\.0\.0\.1:\d+"), "http://host"),
    (re.compile(r'server at "[^"]+", port \d+'), "server at host"),
    (re.compile(r"diva_[0-9a-f]{8}"), "diva"),
    (re.compile(r"(session |backend\()\d+"), r"\g<1>4711"),
    (re.compile(r"for \d+ s;"), "for 12 s;"),
)
"""What differs from run to run, and what the table has in its place."""


def call(sandbox: Sandbox, *words: str, **variables: str) -> Any:
    """Run a command as an operator of the sandbox."""
    return CliRunner().invoke(app, words, env={**sandbox.environment(), **variables})


def look(sandbox: Sandbox, **variables: str) -> dict[str, Any]:
    """Return a look, which must end in time."""
    started = time.monotonic()
    result = call(sandbox, "status", "--json", **variables)
    seconds = time.monotonic() - started
    assert seconds < MAX_SECONDS, f"{seconds:.2f} s"
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def sandbox(harness: EndToEndHarness) -> Sandbox:
    """A running system in which every cron has run."""
    if harness.sandbox is None:
        pytest.skip("it breaks the parts of a sandbox, and not those of the system that --hasura names")
    for name in CRONS:
        result = call(harness.sandbox, "cron", "run", name)
        assert result.exit_code == 0, result.output
    return harness.sandbox


@pytest.fixture(scope="module")
def rows() -> Iterator[dict[str, str]]:
    """The rows of the table, by breakage; compared with the page at the end."""
    found: dict[str, str] = {}
    yield found
    if len(found) < len(NAMED):
        return  # some tests were left out
    text = PAGE.read_text("utf-8")
    begin = text.index(BEGIN)
    end = text.index(END, begin)
    table = "\n".join([f"{BEGIN} level | cause | what helps |", "|---|---|---|---|", *found.values()])
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(text[:begin] + table + text[end:], "utf-8")
    else:
        assert text[begin:end] == table, (
            "make it with: WRITE_DOCS=1 scripts/test tests/end_to_end/test_status.py"
        )


def steady(text: str) -> str:
    for pattern, replacement in CHANGING:
        text = pattern.sub(replacement, text)
    return text.replace("|", "\\|")


def test_a_system_in_which_every_part_works_is_green(sandbox: Sandbox) -> None:
    found = look(sandbox)
    assert (found["level"], found["cause"]) == ("green", None), found
    assert call(sandbox, "status").exit_code == 0


@pytest.mark.parametrize("breakage", NAMED, ids=lambda each: each.name)
def test_the_cause_of_a_breakage_is_named_in_time(
    sandbox: Sandbox, rows: dict[str, str], breakage: Breakage
) -> None:
    with breakage.broken(Installation(sandbox)) as variables:
        found = look(sandbox, **variables)
        cause = found["cause"]
        assert cause is not None
        assert cause["name"] == breakage.line, found
        assert re.search(breakage.text, cause["text"]), cause
        assert ends_with_command(cause["helps"]) or cause["level"] != "red", cause
    text, helps = steady(cause["text"]), steady(cause["helps"])
    helps = f"`{helps}`" if helps.startswith(("leads ", "psql: ")) else helps
    rows[breakage.name] = f"| {breakage.name} | {cause['level']} | {cause['name']}: {text} | {helps} |"
    mended = look(sandbox)
    assert mended["cause"] is None or mended["cause"]["name"] != breakage.line, mended


def examine(sandbox: Sandbox, *, code: int, **variables: str) -> dict[str, str]:
    """Return the levels of `leads doctor` by name."""
    result = call(sandbox, "doctor", "--json", **variables)
    assert result.exit_code == code, result.output
    return {line["name"]: line["level"] for line in json.loads(result.stdout)}


def test_a_complete_installation_is_green_for_the_doctor(sandbox: Sandbox) -> None:
    levels = examine(sandbox, code=0)
    assert set(levels.values()) <= {"green", "-"}
    for name in ("environment", "database", "rights", "JWT role", "handlers", "secret", "Pancake", "clocks"):
        assert levels[name] == "green"


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("HANDLER_SECRET", "another-secret-of-the-test-with-32-chars", "secret"),
        ("HASURA_ADMIN_SECRET", "wrong", "metadata"),
        ("HASURA_SERVICE_TOKEN", "no.token", "JWT role"),
        ("PANCAKE_API_HOSTS", "crm.pancake.vn", "Pancake"),
    ],
)
def test_a_wrong_variable_is_red_for_the_doctor(
    sandbox: Sandbox, variable: str, value: str, line: str
) -> None:
    levels = examine(sandbox, code=1, **{variable: value})
    assert [name for name, level in levels.items() if level == "red"] == [line]


def test_a_token_of_the_edge_is_refused_by_the_doctor(sandbox: Sandbox) -> None:
    token = sandbox.keys.token("pancake_edge")
    assert examine(sandbox, code=1, HASURA_SERVICE_TOKEN=token)["JWT role"] == "red"
