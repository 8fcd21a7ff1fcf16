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

from ops.cli import app
from ops.daily.config import describe
from sandbox.demo import Result
from sandbox.monitoring.rules import WATCHDOG, alerts
from sandbox.monitoring.servers import FIRING
from sandbox.payloads import Effect, load_samples
from sandbox.processes import ROOT, Processes
from tests.support.end_to_end import needs_edge
from tests.support.leads import body, numbered_lead
from tests.support.monitoring import needs_monitoring
from tests.support.programs import run
from tests.support.waiting import eventually

FIGURES = {
    "deliveries", "statuses", "duplicates", "accounts", "contacts", "tickets", "assigned", "notifications",
    "edge", "seconds",
}  # fmt: skip


def start(processes: Processes, *words: str, **more: Any) -> "subprocess.Popen[str]":
    """Start a module of the sandbox with its own PostgreSQL; DATABASE_URL may be among `more`."""
    inherited = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return processes.start(
        [sys.executable, "-m", *words],
        cwd=ROOT, env={**inherited, "PYTHONPATH": str(ROOT), **more},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_a_service_that_does_not_start_is_exit_code_3(
    processes: Processes, subtests: pytest.Subtests
) -> None:
    commands = (["sandbox.demo", "--json"], ["sandbox", "up"])
    nowhere = "postgresql://postgres@127.0.0.1:9/postgres"
    for started in [start(processes, *command, DATABASE_URL=nowhere) for command in commands]:
        with subtests.test(command=started.args):
            output, errors = started.communicate(timeout=60)
            assert (started.returncode, output) == (3, ""), errors
            assert "127.0.0.1" in errors
            assert "Traceback" not in errors


def test_a_difference_from_a_sample_is_named() -> None:
    sample = load_samples()[0]
    answer = {"status": "received", "error_code": None, "event_id": 1}
    seen = Effect(row={"status": "processed", "outcome": "ticket_created"}, phone=sample.expect.phone)
    differences = Result(sample, answer, seen).differences
    assert "owner: False, not True" in differences
    assert not any(difference.startswith(("answer", "row", "phone")) for difference in differences)


def read_until(output: IO[str] | None, words: str) -> str:
    """Read lines up to the one with these words; return what follows them, empty at the end of the output."""
    assert output is not None
    return next((line for line in output if words in line), "").partition(words)[2].strip()


def assert_serves_the_page(url: str) -> None:
    answer = httpx.get(url)
    assert answer.status_code == 200
    assert "Send a new lead" in answer.text


class Remains:
    """The processes of a running sandbox and its directories, one of which has its logs."""

    def __init__(self, owner: "subprocess.Popen[str]", logs: Path) -> None:
        self._children = _descendants(owner.pid)
        working = {Path(f"/proc/{pid}/cwd").resolve() for pid in self._children}
        temporary = Path(tempfile.gettempdir()).resolve()
        self._directories = [logs, *(path for path in working if temporary in path.parents and path != ROOT)]
        assert len(self.left()) > 6

    def left(self) -> list[object]:
        """Return the processes and directories that still exist."""
        alive = [pid for pid in self._children if _stat(pid)[:1] not in ([], ["Z"])]
        return [*alive, *(path for path in self._directories if path.exists())]

    def wait_gone(self) -> None:
        eventually(lambda: not self.left(), seconds=20)


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _descendants(pid: int) -> list[int]:
    running = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    parents = {one: int(stat[1]) for one in running if (stat := _stat(one))}
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def test_the_demo_prints_one_object_serves_its_page_and_leaves_nothing_behind_when_it_is_killed(
    processes: Processes,
) -> None:
    demo = start(processes, "sandbox.demo", "--serve", "--json")
    assert demo.stdout is not None
    figures = json.loads(demo.stdout.readline())
    assert figures.keys() >= FIGURES
    assert figures["differences"] == {}
    logs = Path(read_until(demo.stderr, "Logs are in ").split(". ")[0])
    assert_serves_the_page(read_until(demo.stderr, "Open this page to watch leads, and to stop parts: "))
    remains = Remains(demo, logs)
    demo.kill()
    assert demo.communicate() == ("", ""), "the object and the address of the page are the last lines"
    remains.wait_gone()


class Observed:
    """A running `scripts/sandbox up --observe`: its variables, its page, and what it says of alerts."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.env_file, self._said = folder / "env", folder / "said"
        with self._said.open("w") as said:
            self.process = processes.start(
                [sys.executable, "-m", "sandbox", "up", "--observe", "--env-file", str(self.env_file)],
                cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=said,
            )  # fmt: skip
        eventually(lambda: "Page: " in self.said() or self.process.poll() is not None, seconds=60)
        assert self.process.poll() is None, self.said()
        self.remains = Remains(self.process, Path(self.after("Logs are in ").split(". ")[0]))
        read = run(ROOT / "scripts/read_env", self.env_file).stdout
        lines = [line.removeprefix("export ").partition("=") for line in read.splitlines()]
        self.values = {name: value.strip("'") for name, _, value in lines}

    def said(self) -> str:
        return self._said.read_text()

    def after(self, words: str) -> str:
        """Return the rest of the line with these words."""
        return self.said().partition(words)[2].splitlines()[0]

    def prometheus(self, path: str) -> Any:
        return httpx.get(f"{self.values['PROMETHEUS_URL']}/api/v1/{path}", timeout=10).json()["data"]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    with pytest.MonkeyPatch.context() as patch, Processes() as processes:
        patch.delenv("DATABASE_URL", raising=False)
        yield Observed(processes, tmp_path_factory.mktemp("observed"))


NOT_IN_THE_FILE = {
    "HASURA_OTHER_ADMIN_SECRET",  # there is no second engine to compare with
    "ALLOW_CLEAR_TEXT",  # every address is on the loopback interface
    "BIND", "OPS_BIND",  # the handlers of the sandbox have their port
    "GOLIVE_SIGNERS", "GOLIVE_KEY",  # people state what they saw of a go-live, not a sandbox
    "INGEST_CONNECTIONS", "WORK_CONNECTIONS", "LOG_LEVEL",  # the defaults are meant
    "VERSION", "COMMIT",  # a clone has none
    "HANDLER_SECRET_PREVIOUS", "HANDLER_SECRET_PREVIOUS_UNTIL",  # no secret of a new sandbox was changed
    "EDGE_SECRET_PREVIOUS", "EDGE_SECRET_PREVIOUS_UNTIL",
}  # fmt: skip


@needs_edge
@needs_monitoring
def test_the_file_of_a_sandbox_has_every_variable_of_the_commands(observed: Observed) -> None:
    assert {each["name"] for each in describe()} - observed.values.keys() == NOT_IN_THE_FILE
    assert {"WEBHOOK_URL", "WEBHOOK_TOKEN"} <= observed.values.keys()
    assert all(observed.values.values())
    assert observed.env_file.stat().st_mode & 0o077 == 0

    def leads(*words: str) -> str:
        result = CliRunner().invoke(app, words, env=observed.values)
        assert result.exit_code == 0, result.output
        return result.stdout

    leads("token", "pancake_edge")
    leads("edge-spool", "list")
    assert json.loads(leads("config", "show", "--json"))["problems"] == []
    assert json.loads(leads("reconcile", "--day", "2026-05-14", "--stored", "--json")) == []
    levels = {each["check"]: each["level"] for each in json.loads(leads("doctor", "--json"))["findings"]}
    assert "red" not in levels.values(), levels


@needs_edge
@needs_monitoring
def test_a_sandbox_serves_shows_its_alerts_and_leaves_nothing_behind_on_sigterm(observed: Observed) -> None:
    eventually(lambda: firing(observed) == {WATCHDOG})
    answer = httpx.post(observed.values["WEBHOOK_URL"], content=body(numbered_lead(1)))
    assert answer.json()["status"] == "received"
    assert_serves_the_page(observed.after("Page: "))

    groups = observed.prometheus("rules?type=alert")["groups"]
    assert sorted(rule["name"] for group in groups for rule in group["rules"]) == sorted(
        alert.name for alert in alerts()
    )
    environment = {"ALERTMANAGER_URL": observed.values["ALERTMANAGER_URL"]}
    result = CliRunner().invoke(app, ["alert", "test", "--timeout", "20"], env=environment)
    assert result.exit_code == 0, result.output
    eventually(lambda: "FIRING PancakeAlertTest -> team_channel" in observed.said())
    assert "30 times faster" in observed.said()

    observed.process.send_signal(signal.SIGTERM)
    assert observed.process.wait(30) == 128 + signal.SIGTERM
    observed.remains.wait_gone()
    assert not observed.env_file.exists()


def firing(observed: Observed) -> set[str]:
    """The alerts that Prometheus sends."""
    found = observed.prometheus("alerts")["alerts"]
    return {each["labels"]["alertname"] for each in found if each["state"] == FIRING}
