"""What the runbooks tell a person to type runs: the calls of `leads` that change nothing, and those of curl.

The others change keys, metadata or leads, need a site, or name a lead of an example; that they exist is held
by tests/test_runbook_commands.py, and what they do by the tests of each command.
"""

import re
import shlex

import httpx
import pytest
from typer.testing import CliRunner

from leads.cli.__main__ import app
from leads.services.cron_runs import CRONS
from sandbox.edge.nginx import NginxEdge
from sandbox.stack.stack import Sandbox
from tests.support.end_to_end import EndToEndHarness
from tests.support.runbook import PAGES, commands, lines_of_code, words_of_code

pytestmark = pytest.mark.full("some twenty commands at a sandbox")
READING = (
    "connection status", "connection test", "cron list", "doctor", "history", "metadata diff",
    "metadata verify", "status", "token",
)  # fmt: skip
PLACEHOLDER = re.compile(r"[…<$/]|\b[A-Z]{2,}\b|--watch|--day D")
EDGE_PAGE = re.compile(r"curl (?:--?\w+ )*127\.0\.0\.1:9145(/\w+)")
ANSWERS = {0, 1}
"""All is well, or the command found something. Wrong usage would be 2, a service out of reach 3."""


def readings() -> set[str]:
    """The calls that are complete as they are written, and change nothing."""
    found = {command for page in PAGES for command in commands(page) if not PLACEHOLDER.search(command)}
    return {each for each in found if each.startswith(READING) or each.endswith("--dry-run")}


@pytest.fixture(scope="module")
def sandbox(harness: EndToEndHarness) -> Sandbox:
    if harness.sandbox is None:
        pytest.skip("it reads the edge of a sandbox, and not of the system that --hasura names")
    for name in CRONS:  # else they are late
        CliRunner().invoke(app, ["cron", "run", name], env=dict(harness.sandbox.environment()))
    return harness.sandbox


@pytest.mark.parametrize("command", sorted(readings()))
def test_a_call_that_changes_nothing_runs_as_it_is_written(sandbox: Sandbox, command: str) -> None:
    result = CliRunner().invoke(app, shlex.split(command), env=dict(sandbox.environment()))
    assert result.exit_code in ANSWERS, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.output.strip()


def test_many_calls_are_run() -> None:
    assert len(readings()) > 15
    assert {"status", "doctor", "metadata verify", "replay --status dead_letter --dry-run"} <= readings()


def test_the_pages_of_the_edge_that_curl_reads_are_there(sandbox: Sandbox) -> None:
    code = [text for page in PAGES for text in (*words_of_code(page), *lines_of_code(page))]
    paths = {match[1] for text in code for match in EDGE_PAGE.finditer(text)}
    assert paths == {"/healthz", "/metrics"}
    assert isinstance(sandbox.edge, NginxEdge)
    for path in paths:
        assert httpx.get(sandbox.edge.ops_url + path).status_code == 200, path
