"""What each command says when nothing is configured, no service answers, or Hasura refuses the secret.

The outputs are files in golden/, as on a terminal of 80 columns without colours. After a change of a message,
run this with WRITE_GOLDEN=1 and read the difference.
"""

import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from leads.cli.__main__ import app

GOLDEN = Path(__file__).parent / "golden"
REFUSAL, CODE = 'invalid "x-hasura-admin-secret"/"x-hasura-access-key"', "access-denied"
# A name of a Python class, which says nothing to an operator.
CLASS_NAME = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)*(?:Error|Exception)\b|Traceback")
TIME = re.compile(r"\d{4}-\d\d-\d\d [\d:.]+[+]00:00")
COMMANDS: dict[str, list[str]] = {
    "token pancake_edge": [],
    "replay 17": [],
    "replay --status dead_letter": ["--json"],
    "reconcile --day 2026-05-14": [],
    "backfill-phones": [],
    "history": ["--json"],
    "erase --phone 0905111222 --dry-run": [],
    "status": ["--json"],
    "cron run retry_failed": [],
    "connection status": ["--json"],
    "connection test --connection Diva": [],
    "connection disable Diva --reason moving": [],
    "connection rotate-keys": [],
    "metadata 9a": [],
    "metadata 9b": [],
    "metadata verify 9b": ["--json"],
    "edge-spool list": [],
    "tickets move": [],
}
"""Each command with what makes it complete, and how it is given in its form for programs."""
REPORTING = ("backfill-phones", "status")
"""They print how far they came, or what does not answer."""


class Refusing(BaseHTTPRequestHandler):
    """Answers as an engine does to a wrong admin secret."""

    def do_GET(self) -> None:
        self._refuse()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._refuse()

    def _refuse(self) -> None:
        is_graphql = self.path == "/v1/graphql"
        answer = {"errors": [{"message": REFUSAL, "extensions": {"path": "$", "code": CODE}}]}
        body = json.dumps(answer if is_graphql else {"path": "$", "error": REFUSAL, "code": CODE}).encode()
        self.send_response(200 if is_graphql else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        return None


@pytest.fixture(scope="module")
def refusing_engine() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def variables(hasura_url: str) -> dict[str, str]:
    """A complete configuration, with a database and Pancake that do not answer."""
    return {
        "DATABASE_URL": "postgresql://operator@127.0.0.1:1/diva",
        "METADATA_DATABASE_URL": "postgresql://operator@127.0.0.1:1/diva",
        "HASURA_URL": hasura_url,
        "HASURA_ADMIN_SECRET": "not-the-secret",
        "HANDLERS_URL": "http://127.0.0.1:1",
        "HASURA_SERVICE_TOKEN": "token",
        "HANDLER_SECRET": "h" * 40,
        "EDGE_SECRET": "e" * 40,
        "ENCRYPTION_KEYS": "k1:" + "A" * 43 + "=",
        "PANCAKE_API_HOSTS": "https://crm.pancake.vn",
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_the_output_is_the_golden_file(
    command: str, refusing_engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    is_writing = bool(os.environ.get("WRITE_GOLDEN"))
    for name in list(os.environ):
        if name not in {"PATH", "HOME", "LANG", "TMPDIR"} and not name.startswith("PYTEST"):
            monkeypatch.delenv(name)
    for name, value in {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    made = ""
    cases = {
        "without an environment": {},
        "no service answers": variables("http://127.0.0.1:1"),
        "Hasura refuses the secret": variables(refusing_engine),
    }
    for case, given in cases.items():
        result = CliRunner().invoke(app, [*command.split(), *COMMANDS[command]], env=given, prog_name="leads")
        said = TIME.sub("2026-05-14 02:20:00+00:00", result.stdout + result.stderr)
        said = said.replace(refusing_engine, "http://hasura").replace(str(tmp_path), "TMP")
        made += f"# {case}: exit code {result.exit_code}\n{said.rstrip()}\n\n"
        if command not in REPORTING:
            assert result.stdout == "", case
        assert not CLASS_NAME.search(said), said
        assert result.exit_code in (1, 2, 3) or command.startswith("token"), said
    path = GOLDEN / f"{re.sub(r'[^a-z0-9]+', '-', command.lower()).strip('-')}.txt"
    made = f"$ leads {' '.join([command, *COMMANDS[command]])}\n\n{made}"
    if is_writing:
        path.write_text(made, "utf-8")
    assert path.read_text("utf-8") == made
