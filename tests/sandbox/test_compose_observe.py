"""Prometheus, Alertmanager and Grafana in compose.yaml, checked without Docker."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
OBSERVING = {"prometheus", "alertmanager", "grafana"}


def test_prometheus_alertmanager_and_grafana_start_on_request() -> None:
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["observe"]} == OBSERVING
    assert not [name for name, service in SERVICES.items() if OBSERVING & set(service.get("depends_on", {}))]


def test_they_read_the_configuration_of_deploy() -> None:
    mounts = {
        target: ROOT / source
        for name in OBSERVING
        for source, _, rest in (volume.partition(":") for volume in SERVICES[name]["volumes"])
        if source.startswith("./")
        for target in [rest.removesuffix(":ro")]
        if rest.endswith(":ro")
    }
    for path in mounts.values():
        assert path.exists(), path
    commands = " ".join(SERVICES["prometheus"]["command"] + SERVICES["alertmanager"]["command"])
    for path in re.findall(r"--config\.file=(\S+)", commands):
        folder, _, name = path.rpartition("/")
        assert (mounts.get(path) or mounts[folder] / name).is_file(), path
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/pancake.yaml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (mounts[folder] / home.removeprefix(f"{folder}/")).is_file()


def test_prometheus_keeps_the_pilot_and_its_targets_are_services() -> None:
    (days,) = re.findall(r"retention\.time=(\d+)d", " ".join(SERVICES["prometheus"]["command"]))
    assert int(days) >= 45
    known = {*SERVICES, *SERVICES["pod"]["networks"]["default"]["aliases"], "localhost"}
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    jobs = [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
    hosts = {
        target.partition(":")[0]
        for job in jobs
        for each in job["static_configs"]
        for target in each["targets"]
    }
    assert hosts <= known
