"""What each command says when nothing is configured, a service is away, or does not accept who asks.

The outputs are files in golden/, as they are without a terminal, without colours and at 80 columns. After a
change of a message, run this with WRITE_GOLDEN=1 and read the difference. With --json the same failures have
to be one JSON document on stdout.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.cells import cell_len
from typer.testing import CliRunner

from leads.cli.__main__ import app
from sandbox.postgres.server import Cluster
from tests.support.golden import NOWHERE, golden_cases, replaced

GOLDEN = Path(__file__).parent / "golden"
WRITES = bool(os.environ.get("WRITE_GOLDEN"))
MAX_COLUMNS = 80
# A name of a Python class, which says nothing to an operator.
CLASS_NAME = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)*(?:Error|Exception)\b|Traceback|<[a-z_.]+ object at")
DATABASE, HASURA, HANDLERS, SPOOL, ALERTMANAGER, PROMETHEUS, PANCAKE, IN_USE = range(8)
CASES: dict[int, tuple[str, ...]] = {
    DATABASE: ("the database is away", "the database refuses the password"),
    HASURA: ("Hasura is away", "Hasura refuses the secret"),
    HANDLERS: ("the handlers are away", "the handlers refuse the secret"),
    SPOOL: ("the edge's folder is missing",),
    ALERTMANAGER: ("Alertmanager is away",),
    PROMETHEUS: ("Prometheus is away",),
    PANCAKE: ("Pancake is away",),
    IN_USE: ("there is a connection",),
}
"""The cases that concern a command, by the service that it calls. The last one is a result, not a failure;
docs/runbook/why-no-ticket.md and docs/status.md have many more of `leads trace` and `leads status`."""


@dataclass(frozen=True)
class Call:
    """What makes a command complete, and the services that it calls."""

    arguments: str = ""
    calls: tuple[int, ...] = ()


D, E = Call("", (DATABASE,)), Call("", (HASURA,))
B, R = Call("", (DATABASE, HASURA, HANDLERS, PANCAKE)), Call("", (DATABASE, IN_USE))
COMMANDS: dict[str, Call] = {
    "serve": Call(),
    "token": Call("pancake_edge"),
    "replay": Call("17", (HASURA,)),
    "trace": Call("0905111222", (DATABASE, IN_USE)),
    "reconcile": Call("--day 2026-05-14 --dry-run", (DATABASE, PANCAKE)),
    "backfill-phones": D,
    "history": R,
    "erase": Call("--phone 0905111222 --dry-run", (DATABASE,)),
    "report": Call("--from 2026-05-11 --to 2026-05-17", (DATABASE, IN_USE)),
    "status": B,
    "doctor": B,
    "tail": D,
    "connection create": Call("--name Diva --workspace 1 --no-key", (DATABASE,)),
    "connection set-time-zone": Call("Asia/Ho_Chi_Minh --yes", (DATABASE,)),
    "connection test": Call("", (DATABASE, PANCAKE)),
    "connection status": R,
    "connection rotate-keys": D,
    "connection rotate-token": D,
    "connection set-webhook-secret": Call("--generate", (DATABASE,)),
    "connection set-header-secret": Call("--generate", (DATABASE,)),
    "connection set-api-key": Call("--variable PATH", (DATABASE,)),
    "connection forget": Call("webhook_secret", (DATABASE,)),
    "connection disable": Call("Diva --reason moving", (DATABASE,)),
    "connection enable": Call("Diva", (DATABASE,)),
    "switch list": R,
    "switch kill": Call("on --reason test", (DATABASE,)),
    "switch pause": Call("on --reason test", (DATABASE,)),
    "switch source": Call("Facebook on --reason test", (DATABASE,)),
    "metadata backup": E,
    "metadata 9a": E,
    "metadata 9b": E,
    "metadata recover": E,
    "metadata verify": E,
    "metadata diff": E,
    "metadata restore": E,
    "metadata remove": Call("9b", (HASURA,)),
    "metadata compare": Call(f"--with {NOWHERE}", (HASURA,)),
    "metadata merge": Call("--into project"),
    "metadata unmerge": Call("project"),
    "metadata check": Call("project"),
    "alert test": Call("", (ALERTMANAGER,)),
    "cron list": R,
    "cron run": Call("retry_failed", (HANDLERS,)),
    "config show": Call(),
    "edge-spool list": Call("", (SPOOL,)),
    "edge-spool show": Call("1-2-3", (SPOOL,)),
    "edge-spool release": Call("--all", (SPOOL,)),
    "edge-spool purge": Call("", (SPOOL,)),
    "edge-spool erase": Call("--phone 0905111222 --dry-run", (SPOOL,)),
    "tickets move": D,
    "golive list": Call("--gate W1"),
    "golive begin": Call("W1 --by Lan", (DATABASE,)),
    "golive baseline": Call("--from 2026-05-04 --to 2026-05-10", (DATABASE,)),
    "golive gate": Call("W1", (DATABASE, PROMETHEUS)),
    "golive attest": Call("none --by Lan --evidence file"),
    "golive waive": Call("none --reason moving --until 2026-06-01 --by Lan"),
    "golive not-applicable": Call("none --reason moving --by Lan"),
    "golive report": Call("W1 --key key.pem --to report"),
    "golive verify": Call("report.dsse.json --public-key key.pem"),
    "golive deploy": Call("--plan", (DATABASE,)),
    "golive precheck": Call("database metadata", (DATABASE, HASURA)),
    "golive day0": Call("", (DATABASE, HASURA, PROMETHEUS)),
    "golive watch": Call("", (DATABASE, HASURA, PROMETHEUS)),
    "golive drill": Call("tier1 --database diva", (DATABASE,)),
    "golive smoke": Call("body.json"),
    "golive handover": Call("--to missing/bundle.tar.gz"),
}
ALWAYS_JSON = ("serve", "edge-spool show")
"""They have no option --json: log lines, and one delivery."""
REPORTING = (
    "backfill-phones", "status", "doctor", "config show", "golive list", "golive gate", "golive deploy",
    "golive precheck", "golive day0", "golive watch",
)  # fmt: skip
"""With --json they print their own document also if something is missing or away."""
OWN_RESULT = {"reconcile": CASES[PANCAKE]}
"""So does this one in these cases only."""


@pytest.fixture(scope="module")
def cases(cluster: Cluster, template: str) -> Iterator[dict[str, dict[str, str]]]:
    with golden_cases(cluster, template) as environments:
        yield environments


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """80 columns, no colours, an empty folder, and none of the variables of this process."""
    for name in list(os.environ):
        if name not in {"PATH", "HOME", "LANG", "TMPDIR"} and not name.startswith("PYTEST"):
            monkeypatch.delenv(name)
    for name, value in {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


def cases_of(command: str) -> list[str]:
    """Return the cases that concern a command: those of the services that it calls."""
    of_services = (CASES[service] for service in COMMANDS[command].calls)
    return ["without an environment", *(case for cases in of_services for case in cases)]


def run(words: str, environment: Mapping[str, str]) -> Any:
    result = CliRunner().invoke(app, words.split(), env=environment, prog_name="leads")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_every_command_has_a_golden_file_and_there_is_no_other() -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    leaves = [
        f"{verb} {name}".strip()
        for verb, command in verbs.items()
        for name in getattr(command, "commands", None) or [""]
    ]
    assert list(COMMANDS) == leaves
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {name.replace(" ", "-") for name in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_output_is_the_golden_file(
    command: str, cases: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    words = f"{command} {COMMANDS[command].arguments}".strip()
    made = f"$ leads {words}\n\n"
    for case in cases_of(command):
        result = run(words, cases[case])
        said = replaced((result.stdout + result.stderr).replace(str(tmp_path), "TMP"))
        made += f"# {case}: exit code {result.exit_code}\n{said.rstrip()}\n\n"
    for line in made.splitlines():
        assert cell_len(line) <= MAX_COLUMNS or " " not in line.strip(), line
        assert not CLASS_NAME.search(line)
    path = GOLDEN / f"{command.replace(' ', '-')}.txt"
    if WRITES:
        path.write_text(made, "utf-8")
    assert path.read_text("utf-8") == made


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ALWAYS_JSON])
def test_a_failure_is_one_json_document_too(command: str, cases: dict[str, dict[str, str]]) -> None:
    for case in cases_of(command):
        words = f"{command} {COMMANDS[command].arguments}"
        plain, result = run(words, cases[case]), run(f"{words} --json", cases[case])
        found = json.loads(result.stdout)
        assert result.exit_code == plain.exit_code, case
        if command not in REPORTING and case not in OWN_RESULT.get(command, CASES[IN_USE]):
            assert found.keys() >= {"error", "exit_code"}, found
            assert (found["exit_code"], plain.stdout) == (result.exit_code, ""), case
