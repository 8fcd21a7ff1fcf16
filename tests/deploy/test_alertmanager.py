"""Where alerts go: the configuration is valid, and each severity reaches its receivers."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.support.alerts import FILES, PROMETHEUS, ROOT, Rule, alerts
from tests.support.monitoring import needs_monitoring

CONFIG = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RECEIVERS = {"critical": "pager,team_channel", "warning": "team_channel", "none": "heartbeat"}


def run(*command: object) -> str:
    """Run a command that must succeed, and return what it says."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def config() -> dict[str, Any]:
    return yaml.safe_load(CONFIG.read_text())  # type: ignore[no-any-return]


@needs_monitoring
def test_the_configuration_is_valid() -> None:
    assert "SUCCESS" in run("amtool", "check-config", CONFIG)


@needs_monitoring
@pytest.mark.parametrize("severity", RECEIVERS)
def test_every_alert_of_a_severity_reaches_its_receivers(severity: str) -> None:
    rules = [rule for rule in alerts() if rule["labels"]["severity"] == severity]
    assert rules
    for rule in rules:
        labels = [f"{key}={value}" for key, value in _labels(rule).items()]
        run(
            "amtool", "config", "routes", "test", f"--config.file={CONFIG}",
            f"--verify.receivers={RECEIVERS[severity]}", *labels,
        )  # fmt: skip


def _labels(rule: Rule) -> dict[str, str]:
    return {"alertname": rule["alert"], **rule["labels"]}


def test_no_secret_is_in_the_configuration() -> None:
    for receiver in config()["receivers"]:
        for kind, listed in receiver.items():
            if kind.endswith("_configs"):
                for settings in listed:
                    assert any(name.endswith("_file") for name in settings), receiver["name"]
                    assert not {"routing_key", "api_url", "url"} & set(settings), receiver["name"]


def test_an_inhibition_names_alerts_that_exist_and_none_silences_itself() -> None:
    names = {rule["alert"] for rule in alerts()}
    for rule in config()["inhibit_rules"]:
        sources, targets = (
            set(re.findall(r"Pancake\w+", " ".join(rule[f"{part}_matchers"])))
            for part in ("source", "target")
        )
        assert sources, rule
        assert targets, rule
        assert (sources | targets) <= names, (sources | targets) - names
        assert not sources & targets, sources & targets


@needs_monitoring
def test_prometheus_loads_every_rule_file_and_the_jobs_that_the_rules_name() -> None:
    path = PROMETHEUS / "prometheus.yml"
    assert "SUCCESS" in run("promtool", "check", "config", path)
    loaded = yaml.safe_load(path.read_text())
    assert loaded["rule_files"] == [f"{name}.rules.yml" for name in FILES]
    jobs = {job["job_name"] for job in loaded["scrape_configs"]}
    named = {job for rule in alerts() for job in re.findall(r'job="(\w+)"', rule["expr"])}
    assert named == {"pancake_handlers", "pancake_edge"}
    assert named <= jobs


def test_the_page_says_to_keep_45_days_at_least() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text()
    (days,) = re.findall(r"--storage\.tsdb\.retention\.time=(\d+)d", page)
    assert int(days) >= 45
