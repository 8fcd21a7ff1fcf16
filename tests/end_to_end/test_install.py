"""docs/runbook/install.md, command by command: from Diva's tables alone to the first ticket."""

import base64
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

import httpx
import psycopg
import pytest

from proofs.sender import tick
from sandbox.edge import EdgeSettings, NginxEdge
from sandbox.postgres import binaries
from sandbox.postgres.database import psql_environment
from sandbox.postgres.server import RUN_ID, Cluster
from sandbox.processes import ROOT, Processes
from sandbox.stack.bare import BareSandbox
from sandbox.stack.connection import WORKSPACE_ID
from sandbox.stack.stack import SLOW_MACHINE_SETTINGS
from tests.support.end_to_end import needs_edge
from tests.support.leads import body, numbered_lead
from tests.support.programs import run
from tests.support.waiting import eventually

ROLES = {name: f"{name}_{RUN_ID}" for name in ("diva_handlers", "diva_operators")}
PAGE = (ROOT / "docs" / "runbook" / "install.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
# A line that ends in a backslash continues on the next one.
LINES = [line for block in BLOCKS for line in re.sub(r"\\\n\s*", "", block).splitlines()]
COMMANDS = {re.sub(r"\s{2,}#.*", "", line) for line in LINES if "†" not in line}
GIVEN = {line for line in COMMANDS if line.startswith(('eval "$(scripts/read_env', "read -rs", "export "))}
"""Lines whose effect the test provides itself, at the start of every command."""


@dataclass
class Installation:
    """The machine of the reader: its folder and environment, and what exists before the installation."""

    folder: Path
    sandbox: BareSandbox
    environment: dict[str, str]
    replaced: dict[str, str] = field(default_factory=dict)
    """Names and addresses in the page, and those that replace them here."""

    ran: set[str] = field(default_factory=set)

    def run(self, command: str, *more: str, code: int = 0) -> str:
        """Run a command of the page with `more` arguments appended; return what it printed."""
        assert command in COMMANDS
        self.ran.add(command)
        prepared = re.sub(r"(?<![\w/])scripts/", f"{ROOT}/scripts/", command)
        for there, here in self.replaced.items():
            prepared = prepared.replace(there, here)
        read = f'test ! -f .env || eval "$({ROOT}/scripts/read_env .env)"'
        given = [read, 'export DATABASE_URL="$OPERATORS_URL"']
        script = "\n".join([*given, " ".join([prepared, *more])])
        done = run("bash", "-c", script, cwd=self.folder, env=self.environment, code=code, timeout=120)
        return done.stdout.strip()

    def fill_in(self, values: Mapping[str, str]) -> None:
        """Enter values into .env."""
        path = self.folder / ".env"
        text = path.read_text()
        for name, value in values.items():
            text = re.sub(rf"^#?{name}=.*", f"{name}={value}", text, flags=re.MULTILINE)
        path.write_text(text)


class WithoutAllowList(BareSandbox):
    """The page asks for `__typename` before its calls are on the list."""

    def _service_variables(self) -> Mapping[str, str]:
        return {**super()._service_variables(), "HASURA_GRAPHQL_ENABLE_ALLOWLIST": "false"}


@pytest.fixture
def installation(cluster: Cluster, tmp_path: Path) -> Iterator[Installation]:
    """What is there before, and a folder with the files of the clone that the page mentions."""
    for shared in ("hasura", "deploy", ".env.example"):
        (tmp_path / shared).symlink_to(ROOT / shared)
    with WithoutAllowList(cluster, tmp_path) as sandbox:
        password = token_hex(16)
        environment = {
            "PATH": os.pathsep.join([str(binaries.find()), os.environ["PATH"]]),
            "HOME": str(tmp_path),
            "PYTHON": sys.executable,
            "HANDLERS_PASSWORD": token_hex(16),
            "OPERATORS_PASSWORD": password,
            "OPERATORS_URL": login_url(sandbox.database_url, "diva_operators", password),
            "HASURA_URL": sandbox.hasura_url,
            "HANDLERS_URL": sandbox.handlers_url,
            "PANCAKE_URL": sandbox.pancake_url,
            "PUBLIC_URL": sandbox.edge_url,
            "HASURA_ADMIN_SECRET": sandbox.keys.admin_secret,
            "HASURA_GRAPHQL_JWT_SECRET": sandbox.keys.jwt_secret,
            "WORKSPACE_ID": str(WORKSPACE_ID),
            **psql_environment(sandbox.database_url),
        }
        yield Installation(tmp_path, sandbox, environment, {**ROLES})
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as db_connection:
        for role in ROLES.values():
            db_connection.execute(f"DROP ROLE IF EXISTS {role}".encode())


def login_url(database: str, login: str, password: str) -> str:
    """The URL of a database for one of the page's logins."""
    return re.sub("//.*@", f"//{ROLES[login]}:{password}@", database)


def command_with(words: str) -> str:
    """Return the only command of the page with these words."""
    (found,) = [line for line in COMMANDS if words in line]
    return found


def prepare_secrets_and_tokens(at: Installation) -> str:
    """Steps 1 and 2; returns the edge's token."""
    at.run("install -m 600 .env.example .env")
    assert re.fullmatch(r"[0-9a-f]{48}", at.run("openssl rand -hex 24"))
    key_id, _, key = at.run('echo "2026a:$(openssl rand -base64 32)"').partition(":")
    assert (key_id, len(base64.b64decode(key))) == ("2026a", 32)
    at.fill_in(
        {
            "DATABASE_URL": login_url(
                at.sandbox.database_url, "diva_handlers", at.environment["HANDLERS_PASSWORD"]
            ),
            "HASURA_URL": at.sandbox.hasura_url,
            "HASURA_SERVICE_TOKEN": at.run("scripts/leads token pancake_service"),
            "HANDLER_SECRET": at.sandbox.keys.handler_secret,
            "EDGE_SECRET": at.sandbox.keys.edge_secret,
            "ENCRYPTION_KEYS": f"{key_id}:{key}",
            "BIND": at.sandbox.handlers_url.removeprefix("http://"),
            "PANCAKE_API_HOSTS": at.sandbox.pancake_url,
        }
    )
    asked = command_with("__typename")
    assert at.run(asked) == '{"data":{"__typename":"query_root"}}'
    return at.run("scripts/leads token pancake_edge")


def apply_migrations_and_metadata(at: Installation) -> None:
    """Steps 4 and 5."""
    at.run(command_with("for file in"))
    assert at.run(command_with("SELECT kill_switch")) == "t"
    assert at.run(command_with("grant_roles.sql")) == "DO"
    for login in ROLES:
        assert at.run(command_with(f"CREATE ROLE {login}")) == "CREATE ROLE"
    assert at.run(command_with("ALTER ROLE")).split("\n") == ["ALTER ROLE"] * 4
    assert "Verified" in at.run("scripts/leads metadata 9a")
    assert at.run(command_with("grant_roles.sql")) == "DO"


def serve_and_connect(at: Installation) -> None:
    """Steps 6 to 8."""
    handlers = at.sandbox.handlers
    handlers.arguments = [str(ROOT / "scripts" / "handlers")]
    values = dict(re.findall(r"^([A-Z_]+)=(.+)", (at.folder / ".env").read_text(), re.MULTILINE))
    handlers.environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable, **values}
    handlers.start()
    handlers.wait_ready()
    readyz = 'curl --fail --silent "${HANDLERS_OPS_URL:-$HANDLERS_URL}/readyz"'
    checks = ("database", "writable", "event_trigger", "hasura", "consistent", "allow_list", "notifications")
    assert json.loads(at.run(readyz)) == dict.fromkeys(checks, True)
    create = command_with("leads connection create")
    at.run(create, "--api-url", f"{at.sandbox.pancake_url}/api")
    assert re.fullmatch(r"The API key works: \d+ sources\.", at.run("scripts/leads connection test"))
    assert "Verified" in at.run("scripts/leads metadata 9b")
    secret = at.sandbox.keys.handler_secret
    assert tick(handlers.url, secret, "sync_sources", datetime.now(UTC)) == "succeeded"
    sources = command_with("SELECT pancake_source_id")
    assert re.search(r"^ -1 .*\| f$", at.run(sources), re.MULTILINE)


def start_the_edge(at: Installation, token: str, processes: Processes) -> None:
    """Step 9 without Debian's packages."""
    sandbox = at.sandbox
    settings = EdgeSettings(
        sandbox.hasura_url, sandbox.handlers_url, token, sandbox.keys.edge_secret,
        port=int(sandbox.edge_url.rpartition(":")[2]),
        environment={**SLOW_MACHINE_SETTINGS, "EDGE_POLICY_SECONDS": "0.2"},
    )  # fmt: skip
    edge = NginxEdge(processes, settings)
    edge.bring_up()
    at.replaced["127.0.0.1:9145"] = edge.ops_url.removeprefix("http://")
    assert '"policy_connections":1' in at.run("curl --silent 127.0.0.1:9145/healthz")


def make_the_first_ticket(at: Installation) -> None:
    """From the first delivery in step 9 to step 12."""
    webhook, header = (at.folder / "webhook-url.txt").read_text().splitlines()
    stored = command_with("SELECT origin, status")

    def deliver(number: int, *headers: str) -> str:
        """Deliver a lead as Pancake does, and return the status that the edge answers."""
        named = dict(line.split(": ", 1) for line in headers)
        answer = httpx.post(webhook, content=body(numbered_lead(number)), headers=named, timeout=30)
        return str(answer.json()["status"])

    deliver(1, header)
    eventually(lambda: at.run(stored) == "webhook|skipped_kill_switch")
    at.run(command_with("monitored_total"), code=1)
    assert at.run(command_with("signature_mode = 'enforce'")) == "UPDATE 1"
    eventually(lambda: deliver(1) == "secret_invalid")
    assert deliver(2, header) == "skipped_kill_switch"
    backfill = "scripts/backfill_normalized_phone"
    at.run(f"{backfill} --dry-run")
    at.run(backfill, "--anytime")
    assert at.run(command_with("UPDATE pancake_source")) == "UPDATE 1"
    assert at.run(command_with("INSERT INTO pancake_assignee")) == "INSERT 0 6"
    for setting in ("SET business_hours", "SET kill_switch"):
        assert at.run(command_with(setting)) == "UPDATE 1"
    at.run("scripts/leads replay --status skipped_kill_switch --drain")
    ticket = command_with("SELECT e.status")
    eventually(lambda: re.fullmatch(r"processed\|ticket_created\|\S+", at.run(ticket)) is not None)


@pytest.mark.slow("it installs, word by word")
@needs_edge
def test_the_commands_of_the_page_produce_the_first_ticket(installation: Installation) -> None:
    """In the order of the page; commands that the test does not run are marked there."""
    edge_token = prepare_secrets_and_tokens(installation)
    apply_migrations_and_metadata(installation)
    serve_and_connect(installation)
    with Processes() as processes:
        start_the_edge(installation, edge_token, processes)
        make_the_first_ticket(installation)
    assert installation.ran | GIVEN == COMMANDS
