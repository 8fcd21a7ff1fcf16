"""The developers' commands: output, exit code, and no processes or files left behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from typer.testing import CliRunner

from leads.cli.__main__ import app
from leads.cli.config.command import describe
from sandbox.demo import Result
from sandbox.edge.packages import describe_edge, missing_packages
from sandbox.payloads import load_samples
from sandbox.postgres.server import Cluster
from sandbox.stack.observer import Effect
from sandbox.stack.services import ROOT
from tests.support.leads import body, numbered_lead
from tests.support.waiting import eventually

FIGURES = {
    "deliveries", "statuses", "duplicates", "accounts", "contacts", "tickets", "assigned", "notifications",
    "edge", "seconds",
}  # fmt: skip


def _environment(cluster: Cluster) -> dict[str, str]:
    """Use the session's PostgreSQL, so that no other one is initialised."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": cluster.url("postgres")}


def test_the_demo_prints_one_object_and_succeeds(cluster: Cluster) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "sandbox.demo", "--json"],
        cwd=ROOT, env=_environment(cluster), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout)
    assert figures.keys() >= FIGURES
    assert figures["differences"] == {}


@pytest.mark.parametrize("command", [["sandbox.demo", "--json"], ["sandbox", "up"]], ids=" ".join)
def test_a_service_that_does_not_start_is_exit_code_3(command: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT, env={**os.environ, "DATABASE_URL": "postgresql://postgres@127.0.0.1:9/postgres"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (3, ""), run.stderr
    assert "127.0.0.1" in run.stderr
    assert "Traceback" not in run.stderr


def test_the_demo_says_which_edge_it_uses() -> None:
    assert describe_edge([]) == "The edge is the real one: nginx with Lua."
    assert describe_edge(["nginx", "lua-cjson"]).endswith("the real one needs the packages nginx, lua-cjson.")


def test_a_difference_from_a_sample_is_named() -> None:
    sample = load_samples()[0]
    answer = {"status": "received", "error_code": None, "event_id": 1}
    seen = Effect(row={"status": "processed", "outcome": "ticket_created"}, phone=sample.expect.phone)
    differences = Result(sample, answer, seen).differences
    assert "owner: False, not True" in differences
    assert not any(difference.startswith(("answer", "row", "phone")) for difference in differences)


def test_a_demo_that_goes_on_ends_with_the_address_of_its_page(cluster: Cluster) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "sandbox.demo", "--serve"],
        cwd=ROOT, env=_environment(cluster), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert demo.stdout is not None
        assert_serves_the_page(read_until(demo.stdout, "Open this page to watch leads, and to stop parts: "))
        demo.send_signal(signal.SIGTERM)
        assert demo.stdout.read() == "", "the address is the last line"
        assert demo.wait(30) == 128 + signal.SIGTERM
    finally:
        demo.kill()
        demo.communicate()


def read_until(output: IO[str], words: str) -> str:
    """Read lines up to the one with these words; return what follows them, empty at the end of the output."""
    return next((line for line in output if words in line), "").partition(words)[2].strip()


def assert_serves_the_page(url: str) -> None:
    answer = httpx.get(url)
    assert answer.status_code == 200
    assert "Send a new lead" in answer.text


class Running:
    """A running `scripts/sandbox up` with its own PostgreSQL, its processes and its directories."""

    def __init__(self, env_file: Path) -> None:
        self.env_file = env_file
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "up", "--env-file", str(env_file)],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        logs = Path(read_until(self.process.stderr, "Logs are in ").split(". ")[0])
        self.page_url = read_until(self.process.stderr, "Page: ")
        self.children = _descendants(self.process.pid)
        working = {Path(f"/proc/{pid}/cwd").resolve() for pid in self.children}
        temporary = Path(tempfile.gettempdir()).resolve()
        self.directories = [logs, *(path for path in working if temporary in path.parents and path != ROOT)]

    @property
    def values(self) -> dict[str, str]:
        """The variables in the env file."""
        run = subprocess.run(
            [ROOT / "scripts/read_env", self.env_file], capture_output=True, text=True, timeout=30, check=True
        )
        lines = [line.removeprefix("export ") for line in run.stdout.splitlines()]
        return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}

    def remains(self) -> list[object]:
        """Return the processes and directories that still exist."""
        alive = [pid for pid in self.children if _is_alive(pid)]
        return [*alive, *(path for path in self.directories if path.exists())]

    def wait_gone(self) -> None:
        """Wait until no process and no directory is left; fail after 20 s."""
        eventually(lambda: not self.remains(), seconds=20)


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _is_alive(pid: int) -> bool:
    return _stat(pid)[:1] not in ([], ["Z"])


def _descendants(pid: int) -> list[int]:
    everyone = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    parents = {one: int(stat[1]) for one in everyone if (stat := _stat(one))}
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A running sandbox, one per test."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    sandbox = Running(tmp_path / "env")
    yield sandbox
    sandbox.process.kill()
    sandbox.process.wait()
    if sandbox.process.stderr is not None:
        sandbox.process.stderr.close()


NOT_IN_THE_FILE = {
    "HASURA_OTHER_ADMIN_SECRET": "there is no second engine to compare with",
    "ALERTMANAGER_URL": "it runs with --observe only",
    "PROMETHEUS_URL": "the same",
    "ALLOW_CLEAR_TEXT": "every address is on the loopback interface",
    "BIND": "the handlers of the sandbox have their port",
    "OPS_BIND": "the same",
    "INGEST_CONNECTIONS": "its default is meant",
    "WORK_CONNECTIONS": "its default is meant",
    "LOG_LEVEL": "its default is meant",
    "VERSION": "a clone has none",
    "COMMIT": "a clone has none",
    "HANDLER_SECRET_PREVIOUS": "no secret of a new sandbox was changed",
    "HANDLER_SECRET_PREVIOUS_UNTIL": "the same",
    "EDGE_SECRET_PREVIOUS": "the same",
    "EDGE_SECRET_PREVIOUS_UNTIL": "the same",
}
NEEDS_NGINX = {"EDGE_STATUS_URL", "EDGE_STATE_KEYS", "EDGE_STATE_DIR"}
"""The stand-in for the edge has no internal listener and no spool."""


def test_the_file_of_a_sandbox_has_every_variable_of_the_commands(running: Running) -> None:
    values = running.values
    read = {each["name"] for each in describe()}
    without_nginx = NEEDS_NGINX if missing_packages() else set()
    assert read - values.keys() == NOT_IN_THE_FILE.keys() | without_nginx
    assert all(values.values())

    def leads(*words: str) -> Any:
        return CliRunner().invoke(app, words, env=values)

    assert leads("token", "pancake_edge").exit_code == 0
    assert json.loads(leads("config", "show", "--json").stdout)["problems"] == []
    assert json.loads(leads("reconcile", "--day", "2026-05-14", "--stored", "--json").stdout) == []
    lines = {line["name"]: line["level"] for line in json.loads(leads("doctor", "--json").stdout)}
    assert "red" not in lines.values(), lines
    if not without_nginx:
        assert leads("edge-spool", "list").exit_code == 0


def test_a_sandbox_serves_and_exits_on_sigterm(running: Running) -> None:
    values = running.values
    assert set(values) >= {
        "DATABASE_URL", "HASURA_URL", "HASURA_ADMIN_SECRET", "HANDLERS_URL", "HANDLER_SECRET",
        "WEBHOOK_URL", "WEBHOOK_TOKEN",
    }  # fmt: skip
    assert running.env_file.stat().st_mode & 0o077 == 0
    answer = httpx.post(values["WEBHOOK_URL"], content=body(numbered_lead(1)))
    assert answer.json()["status"] == "received"
    assert_serves_the_page(running.page_url)
    assert len(running.remains()) > 6
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) == 128 + signal.SIGTERM
    running.wait_gone()
    assert not running.env_file.exists()


def test_a_killed_sandbox_leaves_nothing_behind(running: Running) -> None:
    running.process.kill()
    running.wait_gone()
