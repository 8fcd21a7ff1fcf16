"""A real Prometheus that scrapes a sandbox, with the jobs and rules of `deploy/prometheus`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sandbox.monitoring.servers import prometheus
from sandbox.processes import ROOT, Processes, Service

DEPLOYED = ROOT / "deploy" / "prometheus"


def scraping_prometheus(
    processes: Processes, targets: Mapping[str, Sequence[str]], scrape_seconds: int
) -> Service:
    """Return a Prometheus that is not started yet; `targets` are URLs by the name of the job."""
    home = processes.directory("prometheus-")
    config = home / "prometheus.yml"
    config.write_text(yaml.safe_dump(_config(targets, scrape_seconds)))
    return prometheus(processes, config, home / "data")


def _config(targets: Mapping[str, Sequence[str]], scrape_seconds: int) -> dict[str, Any]:
    """Return the deployed configuration with other targets and intervals, and without Alertmanager."""
    config: dict[str, Any] = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text("utf-8"))
    config["global"] = dict.fromkeys(("scrape_interval", "evaluation_interval"), f"{scrape_seconds}s")
    config["rule_files"] = [str(Path(DEPLOYED, name)) for name in config["rule_files"]]
    del config["alerting"]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    config["scrape_configs"] = [
        {**jobs[name], "static_configs": [{"targets": [url.removeprefix("http://") for url in urls]}]}
        for name, urls in targets.items()
    ]
    return config
