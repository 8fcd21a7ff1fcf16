"""What each command says when nothing is configured, a service is away, or does not accept who asks.

The outputs are files in golden/, as they are without a terminal, without colours and at 80 columns. After a
change of a message, run this with WRITE_GOLDEN=1 and read the difference. With --json the same failures have
to be one JSON document on stdout.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.cells import cell_len
from typer.testing import CliRunner

from leads.adapters.variables import VARIABLES
from leads.cli.__main__ import app
from sandbox.postgres.roles import operators_url
from sandbox.postgres.server import Cluster
from tests.support.away import refusing_database, refusing_http
from tests.support.fixed_engine import fixed_engine

GOLDEN = Path(__file__).parent / "golden"
WRITES = bool(os.environ.get("WRITE_GOLDEN"))
MAX_COLUMNS = 80
NOWHERE = "http://127.0.0.1:1"
DATABASE_AWAY = "postgresql://operator@127.0.0.1:1/diva"
# A name of a Python class, which says nothing to an operator.
CLASS_NAME = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)*(?:Error|Exception)\b|Traceback|<[a-z_.]+ object at")
VARYING = {
    r"\d{4}-\d\d-\d\d[ T][\d:.]+[+]00:00": "2026-05-14 02:20:00+00:00",
    r"\d{4}-\d\d-\d\d [\d:]+ UTC": "2026-05-14 02:20:00 UTC",
    r"(day0|watch)-\d{4}-\d\d-\d\d\.json": r"\1-2026-05-14.json",
    r"\b\d+ ms": "1 ms",
    r"PostgreSQL \d[\d.]*[^,\n]*": "PostgreSQL 17",
    r'"seconds": [\d.]+': '"seconds": 0.0',
    r"127\.0\.0\.1:\d{4,5}": "127.0.0.1:5000",
    r"port \d{4,5}": "port 5000",
}
DATABASE, HASURA, HANDLERS, SPOOL, ALERTMANAGER = "database", "Hasura", "handlers", "spool", "Alertmanager"


@dataclass(frozen=True)
class Call:
    """What makes a command complete, and the services that it calls."""

    arguments: str = ""
    calls: tuple[str, ...] = ()


D, E, B = Call("", (DATABASE,)), Call("", (HASURA,)), Call("", (DATABASE, HASURA, HANDLERS))
COMMANDS: dict[str, Call] = {
    "serve": Call(),
    "token": Call("pancake_edge"),
    "replay": Call("17", (HASURA,)),
    "trace": Call("0905111222", (DATABASE,)),
    "reconcile": Call("--day 2026-05-14", (DATABASE,)),
    "backfill-phones": D,
    "history": D,
    "erase": Call("--phone 0905111222 --dry-run", (DATABASE,)),
    "report": Call("--week 20", (DATABASE,)),
    "status": B,
    "doctor": B,
    "tail": D,
    "connection create": Call("--name Diva --workspace 1 --no-key", (DATABASE,)),
    "connection set-time-zone": Call("Asia/Ho_Chi_Minh --yes", (DATABASE,)),
    "connection test": D,
    "connection status": D,
    "connection rotate-keys": D,
    "connection rotate-token": D,
    "connection set-webhook-secret": Call("--generate", (DATABASE,)),
    "connection set-header-secret": Call("--generate", (DATABASE,)),
    "connection set-api-key": Call("--variable PATH", (DATABASE,)),
    "connection forget": Call("webhook_secret", (DATABASE,)),
    "connection disable": Call("Diva --reason moving", (DATABASE,)),
    "connection enable": Call("Diva", (DATABASE,)),
    "switch list": D,
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
    "cron list": D,
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
    "golive gate": Call("W1", (DATABASE,)),
    "golive attest": Call("none --by Lan --evidence file"),
    "golive waive": Call("none --reason moving --until 2026-06-01 --by Lan"),
    "golive not-applicable": Call("none --reason moving --by Lan"),
    "golive report": Call("W1 --key key.pem --to report"),
    "golive verify": Call("report.dsse.json --public-key key.pem"),
    "golive deploy": Call("--plan", (DATABASE,)),
    "golive precheck": Call("database", (DATABASE,)),
    "golive day0": D,
    "golive watch": D,
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


@pytest.fixture(scope="module")
def cases(cluster: Cluster, template: str) -> Iterator[dict[str, dict[str, str]]]:
    """The environments: by the name of the case. One service is away, the others are not."""
    name = f"{template}_golden"
    database = operators_url(cluster.create_database(name, template))
    with ExitStack() as stack:
        engine = stack.enter_context(fixed_engine({"version": 3, "sources": []}))
        refusing = stack.enter_context(refusing_http())
        refused = stack.enter_context(refusing_database())
        all_answer = variables(database, engine, engine)
        yield {
            "without an environment": {"EDGE_STATE_DIR": "edge"},  # its default may exist on this machine
            "the database is away": all_answer | {"DATABASE_URL": DATABASE_AWAY},
            "the database refuses the password": all_answer | {"DATABASE_URL": refused},
            "Hasura is away": all_answer | {"HASURA_URL": NOWHERE},
            "Hasura refuses the secret": all_answer | {"HASURA_URL": refusing},
            "the handlers are away": all_answer | {"HANDLERS_URL": NOWHERE},
            "the edge's folder is missing": all_answer,
            "Alertmanager is away": all_answer,
            "the handlers refuse the secret": all_answer | {"HANDLERS_URL": refusing},
        }
    cluster.drop_database(name)


def variables(database: str, engine: str, handlers: str) -> dict[str, str]:
    """A complete configuration; the edge's spool is a folder that does not exist."""
    keys = "k1:" + "A" * 43 + "="
    return dict.fromkeys(VARIABLES, "") | {
        "DATABASE_URL": database,
        "METADATA_DATABASE_URL": database,
        "HASURA_URL": engine,
        "HASURA_ADMIN_SECRET": "not-the-secret",
        "HASURA_OTHER_ADMIN_SECRET": "not-the-secret",
        "HANDLERS_URL": handlers,
        "HASURA_SERVICE_TOKEN": "token",
        "HANDLER_SECRET": "h" * 40,
        "EDGE_SECRET": "e" * 40,
        "ENCRYPTION_KEYS": keys,
        "EDGE_STATE_KEYS": keys,
        "EDGE_STATE_DIR": "edge",
        "EDGE_STATUS_URL": NOWHERE,
        "ALERTMANAGER_URL": NOWHERE,
        "PROMETHEUS_URL": NOWHERE,
        "PUBLIC_URL": "https://crm.example.com",
        "PANCAKE_API_HOSTS": "crm.pancake.vn",
    }


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
    of_services = {
        DATABASE: ["the database is away", "the database refuses the password"],
        HASURA: ["Hasura is away", "Hasura refuses the secret"],
        HANDLERS: ["the handlers are away", "the handlers refuse the secret"],
        SPOOL: ["the edge's folder is missing"],
        ALERTMANAGER: ["Alertmanager is away"],
    }
    return [
        "without an environment",
        *(case for name in COMMANDS[command].calls for case in of_services[name]),
    ]


def run(words: str, environment: Mapping[str, str]) -> Any:
    result = CliRunner().invoke(app, words.split(), env=environment, prog_name="leads")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def replaced(text: str) -> str:
    """Return an output without what differs between two runs."""
    for pattern, shown in VARYING.items():
        text = re.sub(pattern, shown, text)
    return text


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
        if command not in REPORTING:
            assert found.keys() >= {"error", "exit_code"}, found
            assert (found["exit_code"], plain.stdout) == (result.exit_code, ""), case
