"""A real Prometheus that scrapes a sandbox, with the jobs and rules of `deploy/prometheus`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from sandbox.incidents.prometheus import prometheus
from sandbox.processes import Processes
from sandbox.stack.services import ROOT, Service

DEPLOYED = ROOT / "deploy" / "prometheus"
TIMEOUT_SECONDS = 30.0


class QueryFailed(Exception):
    """Prometheus refused a query; the message has the query and its reason."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer; a value that is NaN stays NaN."""

    labels: Mapping[str, str]
    points: Sequence[tuple[datetime, float]]


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


class Queries:
    """Asks a Prometheus. Close it after use."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS)

    def at(self, expression: str, moment: datetime) -> list[Series]:
        """Return the answer of an instant query. Raises QueryFailed."""
        result = self._get("query", {"query": expression, "time": moment.timestamp()})
        return [_series(found["metric"], [found["value"]]) for found in result]

    def between(self, expression: str, since: datetime, until: datetime, step_seconds: float) -> list[Series]:
        """Return the answer of a range query. Raises QueryFailed."""
        window = {"start": since.timestamp(), "end": until.timestamp(), "step": step_seconds}
        result = self._get("query_range", {"query": expression, **window})
        return [_series(found["metric"], found["values"]) for found in result]

    def close(self) -> None:
        self._http.close()

    def _get(self, path: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        answer = self._http.get(f"/api/v1/{path}", params=dict(parameters)).json()
        if answer["status"] != "success":
            raise QueryFailed(f"{parameters['query']}: {answer['error']}")
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


def _series(labels: dict[str, str], values: list[tuple[float, str]]) -> Series:
    return Series(labels, [(datetime.fromtimestamp(at, UTC), float(value)) for at, value in values])
