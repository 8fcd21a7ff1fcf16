"""Load recordings into a real Prometheus and evaluate the rules of deploy/prometheus over their time.

promtool backfills recording rules only. Alerts are therefore evaluated by a range query of each expression,
at the steps at which Prometheus would evaluate it, and `for` is applied to the result
(docs/decisions/0055-alerts-over-the-past.md).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from sandbox.incidents.prometheus import prometheus, run_promtool
from sandbox.incidents.replay.firing import Firing, apply_for
from sandbox.incidents.replay.recording import Recording, Scenario
from sandbox.incidents.rules import Alert, alerts, rule_files
from sandbox.processes import Processes
from sandbox.stack.services import Service

STEP_SECONDS = 60.0
"""Between two evaluations; the samples are as far apart."""
FULL_BLOCKS = "--max-block-duration=162h"
"""The largest block of a week. promtool reads the whole text again for each block."""
QUERY_TIMEOUT_SECONDS = 600.0
RULES_ABOVE_RULES = 2
"""How often rules are recorded: a pass of promtool does not see what the same pass records."""
KEEP_ALL = ("--storage.tsdb.retention.time=100y", f"--query.timeout={QUERY_TIMEOUT_SECONDS:.0f}s")


class Replay:
    """A Prometheus with recordings."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def firings(self, scenario: Scenario) -> list[Firing]:
        """Return every alert that fires within the time of a scenario."""
        return [firing for alert in alerts() for firing in self._evaluate(alert, scenario)]

    def has_samples(self, name: str, scenario: Scenario) -> bool:
        """Whether a series has samples within the time of a scenario."""
        seconds = scenario.ends_at - scenario.recorded_from
        query = {"query": f"count_over_time({name}[{seconds:.0f}s])", "time": scenario.ends_at}
        return bool(self._client.post("/api/v1/query", data=query).json()["data"]["result"])

    def _evaluate(self, alert: Alert, scenario: Scenario) -> Iterator[Firing]:
        answer = self._client.post(
            "/api/v1/query_range",
            data={
                "query": alert.expr,
                "start": scenario.recorded_from,
                "end": scenario.ends_at,
                "step": STEP_SECONDS,
            },
        )
        document = answer.json()
        if document["status"] != "success":
            raise RuntimeError(f"{alert.name}: {document['error']}")
        for found in document["data"]["result"]:
            times = [float(time) for time, _ in found["values"]]
            firing = apply_for(times, alert, scenario.steps(STEP_SECONDS))
            if firing:
                labels = {**found["metric"], "alertname": alert.name, "severity": alert.severity}
                labels.pop("__name__", None)
                yield Firing(tuple(sorted(labels.items())), firing)


@contextmanager
def replay(recordings: Sequence[Recording], folder: Path) -> Iterator[Replay]:
    """Load recordings, whose times must not overlap; the files go into `folder`."""
    data, config = folder / "data", folder / "prometheus.yml"
    config.write_text("{}\n")
    for recording in recordings:
        text = folder / "series.txt"
        recording.write(text)
        run_promtool("tsdb", "create-blocks-from", FULL_BLOCKS, "openmetrics", text, data)
        text.unlink()
    with Processes() as processes:
        server = prometheus(processes, config, data, *KEEP_ALL)
        server.start()
        server.wait_ready()
        for _ in range(RULES_ABOVE_RULES):
            for recording in recordings:
                _record_rules(server, recording.scenario, data)
            server.stop()
            server.start()  # it looks for new blocks only now and then
            server.wait_ready()
        with httpx.Client(base_url=server.url, timeout=QUERY_TIMEOUT_SECONDS, trust_env=False) as client:
            yield Replay(client)


def _record_rules(server: Service, scenario: Scenario, data: Path) -> None:
    run_promtool(
        "tsdb", "create-blocks-from", FULL_BLOCKS, "rules", f"--url={server.url}",
        f"--start={scenario.recorded_from:.0f}", f"--end={scenario.ends_at:.0f}",
        f"--output-dir={data}", f"--eval-interval={STEP_SECONDS:.0f}s", *rule_files(),
    )  # fmt: skip
