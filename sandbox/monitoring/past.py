"""A Prometheus with samples of past times, written by promtool."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

import httpx
import yaml

from sandbox.monitoring.rules import rule_files
from sandbox.monitoring.servers import prometheus, run_promtool
from sandbox.processes import Processes
from sandbox.serving import scrape

STEP = timedelta(minutes=4)
"""Below the 5 min for which Prometheus takes a sample for the present value."""


class PastPrometheus:
    """It scrapes nothing, and evaluates the rules of deploy/ each second."""

    def __init__(self, processes: Processes, since: datetime) -> None:
        self._folder = processes.directory("past-")
        self._at, self._last, self._samples = since, dict[str, float](), defaultdict[str, list[str]](list)
        config = self._folder / "prometheus.yml"
        rules = {"global": {"evaluation_interval": "1s"}, "rule_files": [str(path) for path in rule_files()]}
        config.write_text(yaml.safe_dump(rules))
        keep = "--storage.tsdb.retention.time=90d"
        self._server = prometheus(processes, config, self._folder / "data", keep)
        self.url = self._server.url

    def take(self, values: Mapping[str, float], at: datetime) -> None:
        """Take values by series as those of a time. Those before hold until then; a new counter was 0."""
        counters = {name: 0.0 for name in values if re.search(r"_(total|count|sum|bucket)\{", name)}
        while self._at + STEP < at:
            self._write(self._at + STEP, counters | self._last)
        self._write(at, values)
        self._last = dict(values)

    def text(self) -> str:
        """Return what was taken since `show`, as OpenMetrics wants it: a series in one piece."""
        return "\n".join([line for lines in self._samples.values() for line in lines] + ["# EOF", ""])

    def show(self) -> None:
        """Start anew with all that was taken. Raises MonitoringFailed and NotReady."""
        series = self._folder / "series.txt"
        series.write_text(self.text())
        words = ("tsdb", "create-blocks-from", "--max-block-duration=240h", "openmetrics", "-q")
        self._server.stop()
        run_promtool(*words, series, self._folder / "data")
        self._server.bring_up()
        self._samples.clear()

    def _write(self, at: datetime, values: Mapping[str, float]) -> None:
        self._at = at
        for name, value in values.items():
            self._samples[name].append(f"{name} {value} {at.timestamp():.3f}")


def scraped(job: str, url: str, kept: tuple[str, ...]) -> dict[str, float]:
    """Return by series what a target shows now, of names that begin so, and whether it answers."""
    try:
        samples = [each for each in scrape(url) if each.name.startswith(kept)]
    except httpx.HTTPError:
        samples = []
    found = {f'up{{instance="{url}",job="{job}"}}': float(bool(samples))}
    for each in samples:
        labels = sorted({**each.labels, "job": job, "instance": url}.items())
        text = ",".join(f"{name}={json.dumps(value)}" for name, value in labels)
        found[f"{each.name}{{{text}}}"] = each.value
    return found
