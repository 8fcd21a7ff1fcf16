"""`leads serve`: it names every problem of its environment, and ends by the signal that stopped it."""

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

import httpx
import pytest

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


def command(cwd: Path, **variables: str) -> subprocess.Popen[str]:
    """`leads serve` with nothing in its environment but what it needs to start."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | variables
    return subprocess.Popen(
        [sys.executable, "-m", "leads.cli", "serve"],
        cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, ["DATABASE_URL is not set", "ENCRYPTION_KEYS is not set", "EDGE_SECRET is not set"]),
        ({"BIND": "8000x"}, ["BIND is not an address and a port: '8000x'", "DATABASE_URL is not set"]),
        ({"OPS_BIND": "9146"}, ["OPS_BIND is not an address and a port: '9146'", "DATABASE_URL is not set"]),
    ],
)
def test_every_problem_of_the_environment_is_named_at_once(
    tmp_path: Path, variables: dict[str, str], words: list[str]
) -> None:
    process = command(tmp_path, **variables)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (2, "")
    assert all(word in errors for word in words), errors
    assert "Traceback" not in errors


@contextmanager
def serving(cwd: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`leads serve` once it answers on PORT; it is terminated at the end."""
    process = command(cwd, **COMPLETE, **variables)
    port = int(variables["BIND"].rpartition(":")[2])
    try:
        eventually(lambda: status(port, "/healthz") == 200 or process.poll() is not None)
        assert process.poll() is None
        yield process
    finally:
        process.terminate()
        output, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert not re.search("Traceback", output)
    for name in ("HANDLER_SECRET", "ENCRYPTION_KEYS"):
        assert COMPLETE[name] not in output + errors


def test_it_serves_from_any_folder_until_sigterm(tmp_path: Path) -> None:
    """app.py is found beside leads/, wherever the command is started."""
    port = free_port()
    with serving(tmp_path, BIND=f"127.0.0.1:{port}"):
        assert (status(port, "/metrics"), status(port, "/readyz")) == (200, 503)


def test_readiness_and_metrics_are_on_the_ops_port_only(tmp_path: Path) -> None:
    port, ops_port = free_port(), free_port()
    with serving(tmp_path, BIND=f"127.0.0.1:{port}", OPS_BIND=f"127.0.0.1:{ops_port}"):
        assert {path: status(port, path) for path in PATHS} == {
            "/healthz": 200, "/readyz": 404, "/metrics": 404,
        }  # fmt: skip
        assert {path: status(ops_port, path) for path in PATHS} == {
            "/healthz": 200, "/readyz": 503, "/metrics": 200,
        }  # fmt: skip


def test_over_the_cap_of_connections_a_request_is_refused_until_others_end(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path, BIND=f"127.0.0.1:{port}"), ExitStack() as idle:
        for _ in range(MAX_CONNECTIONS):
            idle.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert status(port, "/healthz") == 503
        idle.close()
        eventually(lambda: status(port, "/healthz") == 200)


def status(port: int, path: str) -> int:
    """The status of an answer; 0 without one."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code
    except httpx.HTTPError:
        return 0


def test_the_lines_of_the_server_are_json_and_counted(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path, BIND=f"127.0.0.1:{port}") as process:
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        process.terminate()
        output, errors = process.communicate(timeout=30)
    lines = [json.loads(line) for line in output.splitlines()]
    assert {"uvicorn.error"} <= {line["logger"] for line in lines}
    assert errors == ""
    (counted,) = re.findall(r'^pancake_log_messages_total\{level="info"\} (\S+)$', metrics, re.MULTILINE)
    assert float(counted) > 0
