"""`scripts/sandbox up --observe` and one live incident; `scripts/chaos incidents` makes all of them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from leads.cli.__main__ import app
from sandbox.edge.packages import missing_packages
from sandbox.incidents.catalogue import INCIDENTS
from sandbox.incidents.live.breakages import BREAKAGES
from sandbox.incidents.live.incident_run import run_incident
from sandbox.incidents.live.observation import DEFAULT_FACTOR
from sandbox.incidents.live.receiver import FIRING, RESOLVED, Inbox, Notification, print_nothing
from sandbox.incidents.rules import WATCHDOG, alerts
from sandbox.postgres.server import Cluster
from tests.support.monitoring import needs_monitoring
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
needs_edge = pytest.mark.skipif(
    bool(missing_packages()), reason=f"needs these packages of Debian: {' '.join(missing_packages())}"
)


@dataclass(frozen=True)
class Observed:
    """A running `scripts/sandbox up --observe`: its variables, and the file with what it says."""

    process: "subprocess.Popen[str]"
    values: dict[str, str]
    said: Path

    def firing(self) -> set[str]:
        """The alerts that Prometheus sends."""
        found = httpx.get(f"{self.values['PROMETHEUS_URL']}/api/v1/alerts", timeout=10).json()["data"][
            "alerts"
        ]
        return {each["labels"]["alertname"] for each in found if each["state"] == FIRING}


@pytest.fixture
def observed(tmp_path: Path) -> Iterator[Observed]:
    env_file, said = tmp_path / "env", tmp_path / "said"
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "up", "--observe", "--env-file", str(env_file)],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=stderr, text=True,
        )  # fmt: skip
    try:
        eventually(lambda: "Page:" in said.read_text() or process.poll() is not None, seconds=60)
        assert process.poll() is None, said.read_text()
        lines = env_file.read_text().splitlines()
        yield Observed(process, {line.partition("=")[0]: line.partition("=")[2] for line in lines}, said)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@needs_edge
@needs_monitoring
def test_an_observed_sandbox_shows_its_alerts_and_stops_with_its_servers(observed: Observed) -> None:
    rules = httpx.get(f"{observed.values['PROMETHEUS_URL']}/api/v1/rules?type=alert", timeout=10).json()
    loaded = [rule["name"] for group in rules["data"]["groups"] for rule in group["rules"]]
    assert sorted(loaded) == sorted(alert.name for alert in alerts())
    eventually(lambda: observed.firing() == {WATCHDOG}, seconds=20)
    environment = {"ALERTMANAGER_URL": observed.values["ALERTMANAGER_URL"]}
    result = CliRunner().invoke(app, ["alert", "test", "--timeout", "20"], env=environment)
    assert result.exit_code == 0, result.output
    eventually(lambda: "FIRING PancakeAlertTest -> team_channel" in observed.said.read_text(), seconds=10)
    assert "30 times faster" in observed.said.read_text()

    observed.process.send_signal(signal.SIGTERM)
    observed.process.wait(30)
    for name in ("PROMETHEUS_URL", "ALERTMANAGER_URL"):
        with pytest.raises(httpx.ConnectError):
            httpx.get(observed.values[name], timeout=5)


@needs_edge
@needs_monitoring
@pytest.mark.full("more than a minute of real time")
def test_a_removed_cron_raises_exactly_its_alert_which_is_resolved(cluster: Cluster) -> None:
    outcome = run_incident("cron_removed", cluster, DEFAULT_FACTOR, print_nothing)
    assert outcome.is_ok, outcome


def test_every_incident_can_be_made() -> None:
    assert list(BREAKAGES) == list(INCIDENTS)


def test_an_inbox_knows_what_fires_and_what_was_sent() -> None:
    inbox = Inbox()
    for status in (FIRING, RESOLVED):
        inbox.add(Notification("pager", status, {"alertname": "Late"}))
        inbox.add(Notification("pager", FIRING, {"alertname": "Slow", "name": status}))
    inbox.add(Notification("pager", RESOLVED, {"alertname": "Slow", "name": FIRING}))
    assert inbox.sent() == {"Late", "Slow"}
    assert inbox.firing() == {"Slow"}
