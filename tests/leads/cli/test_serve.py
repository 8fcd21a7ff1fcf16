"""`leads serve`: it names every problem of its environment, and ends by the signal that stopped it."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]
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


def test_it_serves_from_any_folder_until_sigterm(tmp_path: Path) -> None:
    """app.py is found beside leads/, wherever the command is started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = command(tmp_path, BIND=f"127.0.0.1:{port}", **COMPLETE)
    try:
        eventually(lambda: is_healthy(port) or process.poll() is not None)
        assert process.poll() is None
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert not re.search("Traceback", output)


def is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False
