"""`pancake-handlers` as a process, and calls of it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from sandbox.processes import Processes
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
PATHS = ("/healthz", "/readyz", "/metrics")
COMPLETE = {
    "DATABASE_URL": "postgresql://none@127.0.0.1:9/none", "HASURA_URL": "http://127.0.0.1:9",
    "HASURA_SERVICE_TOKEN": "unused", "HANDLER_SECRET": "a-secret-of-the-test-with-32-characters",
    "EDGE_SECRET": "a-secret-of-the-test-with-32-characters", "ENCRYPTION_KEYS": "test:" + "A" * 43 + "=",
}  # fmt: skip


SERVE = ("-m", "leads.serve")
"""The arguments of Python that run `pancake-handlers`."""


def command(
    processes: Processes, cwd: Path, run: Sequence[str] = SERVE, **variables: str
) -> subprocess.Popen[str]:
    """`pancake-handlers` with nothing in its environment but what it needs to start."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | variables
    return processes.start(
        [sys.executable, *run], cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@contextmanager
def serving(
    processes: Processes, cwd: Path, port: int, run: Sequence[str] = SERVE, **variables: str
) -> Iterator[list[str]]:
    """`pancake-handlers` once it answers on the port.

    At the end it is terminated; the list has its output then, and what it said of errors. It ended by the
    signal, without a trace or a secret.
    """
    process = command(processes, cwd, run, **COMPLETE, **variables, BIND=f"127.0.0.1:{port}")
    printed: list[str] = []
    try:
        eventually(lambda: status(port, "/healthz") == 200 or process.poll() is not None)
        assert process.poll() is None
        yield printed
    finally:
        process.terminate()
        printed += process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    never = ("Traceback", COMPLETE["HANDLER_SECRET"], COMPLETE["ENCRYPTION_KEYS"])
    assert not [text for text in never if text in "".join(printed)]


def status(port: int, path: str) -> int:
    """The status of an answer; 0 without one."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code
    except httpx.HTTPError:
        return 0


def call(port: int, path: str, headers: Mapping[str, str] | None = None, **envelope: Any) -> tuple[int, str]:
    """Call a route as Hasura does; return the status and the error's code."""
    secret = {"X-Handler-Secret": COMPLETE["HANDLER_SECRET"]}
    answer = httpx.post(
        f"http://127.0.0.1:{port}{path}", json=envelope, headers=secret | dict(headers or {}), timeout=40
    )
    return answer.status_code, answer.json()["extensions"]["code"]
