"""`leads serve` and `leads config show`: problems of the environment, the ports, the end, and no secret."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from leads.adapters.variables import PLAIN_VARIABLES, VARIABLES
from leads.cli.__main__ import app
from leads.cli.serve import MAX_CONNECTIONS
from sandbox.postgres.server import free_port
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]
PATHS = ("/healthz", "/readyz", "/metrics")
COMPLETE = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
    "HASURA_URL": "http://127.0.0.1:9",
    "HASURA_SERVICE_TOKEN": "unused",
    "HANDLER_SECRET": "a-secret-of-the-test-with-32-characters",
    "EDGE_SECRET": "a-secret-of-the-test-with-32-characters",
    "ENCRYPTION_KEYS": "test:" + "A" * 43 + "=",
}

PASSWORD = "password-of-the-test"
SECRETS = {
    "ENCRYPTION_KEYS": f"k1:{'A' * 43}=",
    "HASURA_ADMIN_SECRET": "admin-secret-of-the-test",
    "HANDLER_SECRET": "handler-secret-of-the-test-32-characters",
    "HANDLER_SECRET_PREVIOUS": "previous-secret-of-the-test-32-characters",
    "HASURA_SERVICE_TOKEN": "eyJ.token.of-the-test",
}
ENVIRONMENT = {
    "DATABASE_URL": f"postgresql://diva:{PASSWORD}@127.0.0.1:5432/diva?sslpassword={PASSWORD}",
    "HASURA_URL": f"http://user:{PASSWORD}@127.0.0.1:8080",
    "LEADS_ENV_FILE_NAMES": "HASURA_URL HANDLER_SECRET",
    **SECRETS,
}


def command(cwd: Path, **variables: str) -> subprocess.Popen[str]:
    """`leads serve` with nothing in its environment but what it needs to start."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | variables
    return subprocess.Popen(
        [sys.executable, "-m", "leads.cli", "serve"],
        cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def leads(*words: str, **variables: str) -> Result:
    result = CliRunner().invoke(app, words, env=dict.fromkeys([*VARIABLES, *PLAIN_VARIABLES], "") | variables)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, ["DATABASE_URL is not set", "ENCRYPTION_KEYS is not set", "EDGE_SECRET is not set"]),
        ({"BIND": "8000x"}, ["BIND is not an address and a port: '8000x'", "DATABASE_URL is not set"]),
        ({"OPS_BIND": "9146"}, ["OPS_BIND is not an address and a port: '9146'", "DATABASE_URL is not set"]),
    ],
)
def test_every_problem_of_the_environment_is_named_at_once(
    variables: dict[str, str], said: list[str]
) -> None:
    result = leads("serve", **variables)
    assert (result.exit_code, result.stdout) == (2, "")
    assert all(problem in result.stderr for problem in said), result.stderr


@contextmanager
def serving(cwd: Path, port: int, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`leads serve` once it answers on the port; it is terminated at the end."""
    process = command(cwd, **COMPLETE, BIND=f"127.0.0.1:{port}", **variables)
    try:
        eventually(lambda: status(port, "/healthz") == 200 or process.poll() is not None)
        assert process.poll() is None
        yield process
    finally:
        process.terminate()
        process.wait(30)


def output_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed, once it was terminated; it ended by that signal, without a trace or a secret."""
    output, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert "Traceback" not in output
    for name in ("HANDLER_SECRET", "ENCRYPTION_KEYS"):
        assert COMPLETE[name] not in output + errors
    return output, errors


def status(port: int, path: str) -> int:
    """The status of an answer; 0 without one."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code
    except httpx.HTTPError:
        return 0


def test_it_serves_from_any_folder_until_sigterm_with_a_cap_of_connections(tmp_path: Path) -> None:
    """app.py is found beside leads/, wherever the command is started. Its lines are JSON, and counted."""
    port = free_port()
    with serving(tmp_path, port) as process:
        assert (status(port, "/metrics"), status(port, "/readyz")) == (200, 503)
        with ExitStack() as idle:
            for _ in range(MAX_CONNECTIONS):
                idle.enter_context(socket.create_connection(("127.0.0.1", port)))
            assert status(port, "/healthz") == 503
        eventually(lambda: status(port, "/healthz") == 200)
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    output, errors = output_of(process)
    assert "uvicorn.error" in {json.loads(line)["logger"] for line in output.splitlines()}
    assert errors == ""
    (counted,) = re.findall(r'^pancake_log_messages_total\{level="info"\} (\S+)$', metrics, re.MULTILINE)
    assert float(counted) > 0


def test_readiness_and_metrics_are_on_the_ops_port_only(tmp_path: Path) -> None:
    port, ops_port = free_port(), free_port()
    with serving(tmp_path, port, OPS_BIND=f"127.0.0.1:{ops_port}") as process:
        public, ops = ([status(each, path) for path in PATHS] for each in (port, ops_port))
    assert public == [200, 404, 404]
    assert ops == [200, 503, 200]
    output_of(process)


def show(*options: str, **variables: str) -> Result:
    return leads("config", "show", *options, **ENVIRONMENT | variables)


def shown(**variables: str) -> dict[str, dict[str, Any]]:
    result = show("--json", **variables)
    return {each["name"]: each for each in json.loads(result.stdout)["variables"]}


def test_no_secret_and_no_password_is_shown() -> None:
    for output in (show().output, show("--json").output):
        for secret in (PASSWORD, *SECRETS.values()):
            assert secret not in output


def test_each_variable_says_where_it_is_from() -> None:
    found = shown()
    assert found["DATABASE_URL"] == {
        "name": "DATABASE_URL", "from": "environment", "value": "postgresql://diva:…@127.0.0.1:5432/diva",
    }  # fmt: skip
    for name, place, value in (
        ("HASURA_URL", ".env", "http://user:…@127.0.0.1:8080"),
        ("HANDLER_SECRET", ".env", "set"),
        ("PUBLIC_URL", "-", "not set"),
        ("PANCAKE_API_HOSTS", "default", "crm.pancake.vn"),
    ):
        assert (found[name]["from"], found[name]["value"]) == (place, value)
    assert found.keys() >= VARIABLES.keys() | PLAIN_VARIABLES.keys()


def test_what_is_no_url_is_not_shown() -> None:
    assert shown(HANDLERS_URL=f"{PASSWORD}@host")["HANDLERS_URL"]["value"] == "set, and not a URL"


def test_an_invalid_value_is_named_and_exits_with_1() -> None:
    result = show("--json", HASURA_URL="ftp://hasura")
    assert result.exit_code == 1
    assert "HASURA_URL is not an http or https URL" in json.loads(result.stdout)["problems"][0]
    assert show().exit_code == 0


def test_it_fits_into_80_columns() -> None:
    assert max(map(len, show(COLUMNS="80").stdout.splitlines())) <= 80
