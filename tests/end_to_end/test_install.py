"""docs/runbook/install.md, command by command: from Diva's tables alone to the first ticket."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

import httpx
import psycopg
import pytest

from sandbox.diva import METADATA as DIVA_METADATA
from sandbox.edge.nginx import EdgeSettings, NginxEdge
from sandbox.edge.packages import missing_packages
from sandbox.postgres import binaries
from sandbox.postgres.database import install_diva
from sandbox.postgres.psql import psql_environment
from sandbox.postgres.server import RUN_ID, Cluster, free_port
from sandbox.processes import Processes
from sandbox.stack import hasura
from sandbox.stack.connection import WORKSPACE_ID
from sandbox.stack.keys import Keys
from sandbox.stack.services import ROOT, Service
from sandbox.stack.stack import SLOW_MACHINE_SETTINGS
from tests.support.leads import body, numbered_lead
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
    """The machine of the reader: its folder, its environment and the services around it."""

    folder: Path
    keys: Keys
    cluster: Cluster
    database: str
    processes: Processes
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
        run = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert run.returncode == code, f"{command}\n{run.stdout}\n{run.stderr}"
        return run.stdout.strip()

    def fill_in(self, values: Mapping[str, str]) -> None:
        """Enter values into .env."""
        path = self.folder / ".env"
        text = path.read_text()
        for name, value in values.items():
            text = re.sub(rf"^#?{name}=.*", f"{name}={value}", text, flags=re.MULTILINE)
        path.write_text(text)

    def service(self, name: str, *arguments: str, url: str, ready: str, **environment: str) -> None:
        """Start a server and wait until it is ready."""
        given = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        log = self.processes.directory(f"install-{name}-") / f"{name}.log"
        service = Service(name, arguments, given, url, ready, log, self.processes)
        service.start()
        service.wait_ready()


@pytest.fixture
def installation(cluster: Cluster, tmp_path: Path) -> Iterator[Installation]:
    """Diva's tables, and a folder with the files of the clone that the page mentions."""
    name = f"install_{os.getpid()}"
    url = cluster.create_database(name)
    install_diva(url)
    for shared in ("hasura", "deploy", ".env.example"):
        (tmp_path / shared).symlink_to(ROOT / shared)
    path = os.pathsep.join([str(binaries.find()), os.environ["PATH"]])
    with Processes() as processes:
        environment = {"PATH": path, "HOME": str(tmp_path), "PYTHON": sys.executable}
        password = token_hex(16)
        environment |= {"HANDLERS_PASSWORD": token_hex(16), "OPERATORS_PASSWORD": password}
        environment["OPERATORS_URL"] = login_url(url, "diva_operators", password)
        environment |= psql_environment(url)
        yield Installation(tmp_path, Keys.generate(), cluster, url, processes, environment, {**ROLES})
    cluster.drop_database(name)
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


def start_what_is_around(at: Installation) -> None:
    """Start what exists before the installation: Diva's engine, its notification service, Pancake."""
    names = ("HASURA", "HANDLERS", "NOTIFICATIONS", "PANCAKE", "PUBLIC")
    urls = {name: f"http://127.0.0.1:{free_port()}" for name in names}
    at.environment |= {f"{name}_URL": url for name, url in urls.items()}
    at.environment |= {
        "HASURA_ADMIN_SECRET": at.keys.admin_secret,
        "HASURA_GRAPHQL_JWT_SECRET": at.keys.jwt_secret,
        "WORKSPACE_ID": str(WORKSPACE_ID),
    }

    def python(name: str, module: str, *arguments: str, ready: str, **environment: str) -> None:
        url = urls[name]
        command = [*hasura.PYTHON, "-m", module, "--port", url.rpartition(":")[2], *arguments]
        at.service(name.lower(), *command, url=url, ready=ready, **environment)

    python("NOTIFICATIONS", "sandbox.diva.notifications", ready="/healthz")
    python(
        "PANCAKE", "sandbox.pancake", f"--workspace-id={WORKSPACE_ID}",
        ready="/control/state", PANCAKE_API_KEY=at.keys.pancake_api_key,
    )  # fmt: skip
    python(
        "HASURA", hasura.MODULE, "--metadata", str(DIVA_METADATA),
        ready="/healthz",
        PYTHONPATH=hasura.PYTHONPATH,
        HASURA_GRAPHQL_DATABASE_URL=at.database,
        HASURA_GRAPHQL_ENABLED_LOG_TYPES=hasura.LOG_TYPES,
        PG_DATABASE_URL=at.database,
        HASURA_GRAPHQL_ADMIN_SECRET=at.keys.admin_secret,
        HASURA_GRAPHQL_JWT_SECRET=at.keys.jwt_secret,
        NOTIFICATIONS_URL=urls["NOTIFICATIONS"],
        HANDLERS_URL=urls["HANDLERS"],
        HANDLER_SECRET=at.keys.handler_secret,
    )  # fmt: skip
    dropped = {"action": "sendNotifications", "role": "pancake_service"}
    httpx.post(
        f"{urls['HASURA']}/v1/metadata",
        json={"type": "drop_action_permission", "args": dropped},
        headers={"X-Hasura-Admin-Secret": at.keys.admin_secret},
    ).raise_for_status()


def prepare_secrets_and_tokens(at: Installation) -> str:
    """Steps 1 and 2; returns the edge's token."""
    at.run("install -m 600 .env.example .env")
    assert re.fullmatch(r"[0-9a-f]{48}", at.run("openssl rand -hex 24"))
    key_id, _, key = at.run('echo "2026a:$(openssl rand -base64 32)"').partition(":")
    assert (key_id, len(base64.b64decode(key))) == ("2026a", 32)
    at.fill_in(
        {
            "DATABASE_URL": login_url(at.database, "diva_handlers", at.environment["HANDLERS_PASSWORD"]),
            "HASURA_URL": at.environment["HASURA_URL"],
            "HASURA_SERVICE_TOKEN": at.run("scripts/leads token pancake_service"),
            "HANDLER_SECRET": at.keys.handler_secret,
            "EDGE_SECRET": at.keys.edge_secret,
            "ENCRYPTION_KEYS": f"{key_id}:{key}",
            "BIND": at.environment["HANDLERS_URL"].removeprefix("http://"),
            "PANCAKE_API_HOSTS": at.environment["PANCAKE_URL"],
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


def serve_and_connect(at: Installation) -> None:
    """Steps 6 to 8."""
    url = at.environment["HANDLERS_URL"]
    values = dict(re.findall(r"^([A-Z_]+)=(.+)", (at.folder / ".env").read_text(), re.MULTILINE))
    program = str(ROOT / "scripts" / "leads")
    at.service("handlers", program, "serve", url=url, ready="/readyz", PYTHON=sys.executable, **values)
    readyz = 'curl --fail --silent "${HANDLERS_OPS_URL:-$HANDLERS_URL}/readyz"'
    checks = ("database", "event_trigger", "hasura", "consistent", "allow_list", "notifications")
    assert json.loads(at.run(readyz)) == dict.fromkeys(checks, True)
    (at.folder / "api-key.txt").write_text(at.keys.pancake_api_key)
    create = command_with("leads connection create")
    at.run(create, "--api-url", f"{at.environment['PANCAKE_URL']}/api")
    assert re.fullmatch(r"The API key works: \d+ sources\.", at.run("scripts/leads connection test"))
    assert "Verified" in at.run("scripts/leads metadata 9b")
    tick = {
        "id": token_hex(4), "name": "pancake_sync_sources", "payload": {},
        "scheduled_time": datetime.now(UTC).isoformat(),
    }  # fmt: skip
    secret = {"X-Handler-Secret": at.keys.handler_secret}
    httpx.post(f"{url}/cron/sync_sources", json=tick, headers=secret).raise_for_status()
    sources = command_with("SELECT pancake_source_id")
    assert re.search(r"^ -1 .*\| f$", at.run(sources), re.MULTILINE)


def start_the_edge(at: Installation, token: str) -> None:
    """Step 9 without Debian's packages."""
    hasura, handlers = (at.environment[f"{name}_URL"] for name in ("HASURA", "HANDLERS"))
    port = int(at.environment["PUBLIC_URL"].rpartition(":")[2])
    settings = EdgeSettings(
        hasura, handlers, token, at.keys.edge_secret, port=port,
        environment={**SLOW_MACHINE_SETTINGS, "EDGE_POLICY_SECONDS": "0.2"},
    )  # fmt: skip
    edge = NginxEdge(at.processes, settings)
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
    assert at.run(command_with("UPDATE view_pancake_setting")) == "UPDATE 1"
    at.run("scripts/leads replay --status skipped_kill_switch --drain")
    ticket = command_with("SELECT e.status")
    eventually(lambda: re.fullmatch(r"processed\|ticket_created\|\S+", at.run(ticket)) is not None)


@pytest.mark.skipif(
    bool(missing_packages()), reason=f"needs these packages of Debian: {' '.join(missing_packages())}"
)
def test_the_commands_of_the_page_produce_the_first_ticket(installation: Installation) -> None:
    """In the order of the page; commands that the test does not run are marked there."""
    start_what_is_around(installation)
    edge_token = prepare_secrets_and_tokens(installation)
    apply_migrations_and_metadata(installation)
    serve_and_connect(installation)
    start_the_edge(installation, edge_token)
    make_the_first_ticket(installation)
    assert installation.ran | GIVEN == COMMANDS
