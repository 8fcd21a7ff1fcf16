"""A genuine Prometheus with series of a healthy installation, and with the rules of deploy/prometheus."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import yaml

from sandbox.incidents.prometheus import prometheus, run_promtool
from sandbox.incidents.rules import rule_files
from sandbox.processes import Processes
from tests.support.waiting import eventually

STEP = timedelta(minutes=4)
"""Below the 5 min for which Prometheus takes a sample for the present value."""
HANDLERS = 'job="pancake_handlers",instance="h:9146"'
COUNTERS = {
    f'pancake_webhook_latency_seconds_bucket{{{HANDLERS},le="0.1"}}': 99,
    f'pancake_webhook_latency_seconds_bucket{{{HANDLERS},le="1.0"}}': 100,
    f'pancake_webhook_latency_seconds_bucket{{{HANDLERS},le="+Inf"}}': 100,
    f"pancake_webhook_latency_seconds_count{{{HANDLERS}}}": 100,
    f'pancake_webhook_requests_total{{{HANDLERS},result="received"}}': 100,
    f'pancake_log_messages_total{{{HANDLERS},level="error"}}': 0,
}
"""Increase of each in a step."""
GAUGES = {
    f"process_resident_memory_bytes{{{HANDLERS}}}": 96 * 1024 * 1024,
    f"up{{{HANDLERS}}}": 1,
    'up{job="pancake_edge",instance="e:9145"}': 1,
    'prometheus_build_info{job="prometheus",version="2"}': 1,
    'ALERTS{alertname="PancakeWatchdog",alertstate="firing"}': 1,
    "nothing_known": float("nan"),
}


def open_metrics(span: timedelta, until: datetime) -> str:
    """The series in OpenMetrics' text format, each with its samples in order."""
    times = [until - number * STEP for number in range(int(span / STEP), -1, -1)]
    lines = []
    for name, step in {**COUNTERS, **GAUGES}.items():
        for number, at in enumerate(times):
            value = step * number if name in COUNTERS else step
            lines.append(f"{name} {value} {at.timestamp():.0f}")
    return "\n".join([*lines, "# EOF", ""])


@contextmanager
def genuine_prometheus(folder: Path, span: timedelta) -> Iterator[str]:
    """Serve the series of the last `span`; it scrapes nothing, and evaluates the rules each second."""
    series = folder / "series.txt"
    series.write_text(open_metrics(span, datetime.now(UTC).replace(microsecond=0)))
    words = ("tsdb", "create-blocks-from", "--max-block-duration=240h", "openmetrics", "-q")
    run_promtool(*words, series, folder / "data")
    config = folder / "prometheus.yml"
    rules = [str(shutil.copy(path, folder)) for path in rule_files()]
    config.write_text(yaml.safe_dump({"global": {"evaluation_interval": "1s"}, "rule_files": rules}))
    with Processes() as processes:
        service = prometheus(processes, config, folder / "data", "--storage.tsdb.retention.time=90d")
        service.start()
        service.wait_ready()
        try:
            eventually(lambda: _are_rules_evaluated(service.url), seconds=20)
            yield service.url
        finally:
            service.stop()


def _are_rules_evaluated(url: str) -> bool:
    groups = httpx.get(f"{url}/api/v1/rules", timeout=2).json()["data"]["groups"]
    return all(rule["health"] == "ok" for group in groups for rule in group["rules"])
