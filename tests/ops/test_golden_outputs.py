"""What each command says when nothing is configured, a service is away, or does not accept who asks.

The outputs are files in golden/, as they are without a terminal, without colours and at 80 columns. After a
change of a message, run this with WRITE_GOLDEN=1 and read the difference. With --json the same failures have
to be one JSON document on stdout.
"""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import psycopg
import pytest
import typer
import yaml
from rich.cells import cell_len

from leads.adapters.secrets import KeyRing, SecretScope
from ops.cli import app
from ops.daily.connection_secrets import seal
from ops.settings import VARIABLES
from sandbox.postgres.database import operators_url
from sandbox.postgres.server import Cluster
from tests.support.fake_services import fixed_engine, refusing_http
from tests.support.handlers import seed_connection
from tests.support.operators import leads
from tests.support.stored_rows import HANH, insert_tickets

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
WRITES = bool(os.environ.get("WRITE_GOLDEN"))
NOWHERE = "http://127.0.0.1:1"
DATABASE_AWAY = "postgresql://operator@127.0.0.1:1/diva"
KEYS = "k1:" + "A" * 43 + "="
LOOKS = ("status", "doctor")
VARYING = {
    r"\d{4}-\d\d-\d\d[ T][\d:.]+[+]00:00": "2026-05-14 02:20:00+00:00",
    r"\d{4}-\d\d-\d\d [\d:]+ UTC": "2026-05-14 02:20:00 UTC",
    r"--day \d{4}-\d\d-\d\d": "--day 2026-05-13",
    r"\b\d+ ms": "1 ms",
    r"PostgreSQL \d[\d.]*[^,\n]*": "PostgreSQL 17",
    r'"seconds": [\d.]+': '"seconds": 0.0',
    r"127\.0\.0\.1:\d{4,5}": "127.0.0.1:5000",
    r"port \d{4,5}": "port 5000",
    r"-\d{4}-\d\d-\d\d\.json": "-2026-05-14.json",
    r"\d\d [A-Z][a-z]{2} \d\d:\d\d": "14 May 02:20",
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "a0000000-0000-4000-8000-000000000001",
    r"(pancake_[a-z]+|diva)_[0-9a-f]{8}\w*": r"\1",
}
"""What differs between two runs, as patterns, and what the files have in its place."""
MAX_COLUMNS = 80
# A name of a Python class, which says nothing to an operator.
CLASS_NAME = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)*(?:Error|Exception)\b|Traceback|<[a-z_.]+ object at")
CASES: dict[str, tuple[str, ...]] = {
    "database": ("the database is away", "the database refuses the password"),
    "hasura": ("Hasura is away", "Hasura refuses the secret"),
    "handlers": ("the handlers are away", "the handlers refuse the secret"),
    "spool": ("the edge's folder is missing",),
    "alertmanager": ("Alertmanager is away",),
    "prometheus": ("Prometheus is away",),
    "pancake": ("Pancake is away",),
    "in-use": ("there is a connection",),
}
"""The cases that concern a command that calls a service. The last one is a result, not a failure;
why-no-ticket.md and leads-and-tickets.md of docs/runbook have many more of `leads trace` and `status`."""
COMMANDS: dict[str, dict[str, str]] = yaml.safe_load((GOLDEN / "commands.yaml").read_text("utf-8"))
ALWAYS_JSON = ("edge-spool show",)
"""They have no option --json: log lines, and one delivery."""
REPORTING = (
    "backfill-phones", "status", "doctor", "config show", "golive list", "golive gate", "golive deploy",
    "golive precheck", "golive day0", "golive watch",
)  # fmt: skip
"""With --json they print their own document also if something is missing or away."""
OWN_RESULT = {"reconcile": CASES["pancake"]}
"""So does this one in these cases only."""


def replaced(text: str) -> str:
    """Return an output without what differs between two runs."""
    for pattern, shown in VARYING.items():
        text = re.sub(pattern, shown, text)
    return text


@pytest.fixture(scope="module")
def cases(cluster: Cluster, template: str, module_database: str) -> Iterator[dict[str, dict[str, str]]]:
    """The variables of each case, by its name."""
    used, database = f"{template}_golden_used", operators_url(module_database)
    owner = cluster.create_database(used, template)
    seed_unreachable_pancake(owner)
    with fixed_engine({"version": 3, "sources": []}) as engine, refusing_http() as refusing:
        all_answer = variables(database, engine, engine)
        with_connection = all_answer | {"DATABASE_URL": operators_url(owner)}
        yield {
            "without an environment": {"EDGE_STATE_DIR": "edge"},  # its default may exist on this machine
            "the database is away": all_answer | {"DATABASE_URL": DATABASE_AWAY},
            "the database refuses the password": all_answer
            | {"DATABASE_URL": f"postgresql://operator:wrong@{database.rpartition('@')[2]}"},
            "Hasura is away": all_answer | {"HASURA_URL": NOWHERE},
            "Hasura refuses the secret": all_answer | {"HASURA_URL": refusing},
            "the handlers are away": all_answer | {"HANDLERS_URL": NOWHERE},
            "the handlers refuse the secret": all_answer | {"HANDLERS_URL": refusing},
            "the edge's folder is missing": all_answer,
            "Alertmanager is away": all_answer,
            "Prometheus is away": all_answer,
            "Pancake is away": with_connection,
            "there is a connection": with_connection,
        }
    cluster.drop_database(used)


def variables(database: str, engine: str, handlers: str) -> dict[str, str]:
    """A complete configuration; the edge's spool is a folder that does not exist."""
    return dict.fromkeys(VARIABLES, "") | {
        "DATABASE_URL": database, "METADATA_DATABASE_URL": database,
        "HASURA_URL": engine, "HASURA_ADMIN_SECRET": "not-the-secret",
        "HASURA_OTHER_ADMIN_SECRET": "not-the-secret", "HASURA_SERVICE_TOKEN": "token",
        "HANDLERS_URL": handlers, "HANDLER_SECRET": "h" * 40, "EDGE_SECRET": "e" * 40,
        "ENCRYPTION_KEYS": KEYS, "EDGE_STATE_KEYS": KEYS, "EDGE_STATE_DIR": "edge",
        "EDGE_STATUS_URL": NOWHERE, "ALERTMANAGER_URL": NOWHERE, "PROMETHEUS_URL": NOWHERE,
        "PUBLIC_URL": "https://127.0.0.1:1", "PANCAKE_API_HOSTS": f"crm.pancake.vn,{NOWHERE}",
    }  # fmt: skip


def seed_unreachable_pancake(owner_url: str) -> None:
    """Create a connection with a key, to a Pancake that does not answer.

    And a lead that was answered, of a day that `list` alone is asked for.
    """
    url, connection_id = f"{NOWHERE}/api", seed_connection(owner_url)
    key = seal(KeyRing.parse(KEYS), "key-of-pancake", SecretScope("api_key", connection_id, url))
    with psycopg.connect(owner_url, autocommit=True) as db:
        db.execute("UPDATE pancake_connection SET api_base_url = %s, api_key_encrypted = %s", [url, key])
        db.execute("SET session_replication_role = replica")  # rows in their final state
        insert_tickets(db, "lead-", 1, owner=HANH, at=datetime(2026, 5, 21, 3, tzinfo=UTC))
        db.execute("UPDATE ticket SET first_response_at = created_at + interval '12 min'")
        db.execute("UPDATE pancake_webhook_event SET payload = %s", ['{"name": "Nguyễn Thu Trang"}'])


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """80 columns, no colours, an empty folder, and none of the variables of this process."""
    for name in list(os.environ):
        if name not in {"PATH", "HOME", "LANG", "TMPDIR"} and not name.startswith("PYTEST"):
            monkeypatch.delenv(name)
    keys = {"GOLIVE_KEY": "key", "GOLIVE_SIGNERS": "signers"}
    for name, value in {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb", **keys}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("ops.settings._commit_of_clone", lambda: "")
    # What is away here stays away; tests/ops/test_status.py has the parts that restart during a look.
    monkeypatch.setattr("ops.checks.services.RESTART_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)


def cases_of(command: str) -> list[str]:
    """Return the cases that concern a command: those of the services that it calls."""
    calls = COMMANDS[command].get("calls", "").split()
    return ["without an environment", *chain.from_iterable(CASES[each] for each in calls)]


def test_every_command_has_a_golden_file_and_there_is_no_other() -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    leaves = [
        f"{verb} {name}".strip()
        for verb, command in verbs.items()
        for name in getattr(command, "commands", None) or [""]
    ]
    assert list(COMMANDS) == leaves
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {name.replace(" ", "-") for name in COMMANDS}


@pytest.mark.parametrize("command", [each for each in COMMANDS if each not in LOOKS])
def test_the_output_is_the_golden_file_and_with_json_a_failure_is_one_document(
    command: str, cases: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    compare(command, cases, tmp_path)


@pytest.mark.serial
@pytest.mark.parametrize("command", LOOKS)
def test_the_output_of_a_look_is_the_golden_file(
    command: str, cases: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    """It names a database that answers late, as that of a crowded machine does."""
    compare(command, cases, tmp_path)


def compare(command: str, cases: dict[str, dict[str, str]], tmp_path: Path) -> None:
    words = f"{command} {COMMANDS[command].get('with', '')}".strip()
    plain = {case: leads(*words.split(), **cases[case]) for case in cases_of(command)}
    made = f"$ leads {words}\n\n"
    for case, result in plain.items():
        said = replaced((result.stdout + result.stderr).replace(str(tmp_path), "TMP"))
        made += f"# {case}: exit code {result.exit_code}\n{said.rstrip()}\n\n"
    for line in made.splitlines():
        assert cell_len(line) <= MAX_COLUMNS or " " not in line.strip(), line
        assert not CLASS_NAME.search(line)
    path = GOLDEN / f"{command.replace(' ', '-')}.txt"
    if WRITES:
        path.write_text(made, "utf-8")
    assert path.read_text("utf-8") == made
    for case, result in plain.items() if command not in ALWAYS_JSON else ():
        as_json = leads(*words.split(), "--json", **cases[case])
        found = json.loads(as_json.stdout)
        assert as_json.exit_code == result.exit_code, case
        if command not in REPORTING and case not in OWN_RESULT.get(command, CASES["in-use"]):
            assert found.keys() >= {"error", "exit_code"}, found
            assert (found["exit_code"], result.stdout) == (as_json.exit_code, ""), case


def test_the_pages_for_people_without_a_terminal_quote_golden_files_and_are_short() -> None:
    golden = [path.read_text("utf-8") for path in ROOT.glob("tests/**/golden/**/*.txt")]
    for page in ("docs/cho-quan-ly.md", "docs/cho-telesales.md"):
        text = (ROOT / page).read_text("utf-8")
        examples = re.findall(r"```text\n(.*?)```", text, re.S)
        assert examples and text.count("\n") <= 60, page  # noqa: PT018
        assert [each for each in examples if not any(each in shown for shown in golden)] == [], page
