"""Load recordings into a real Prometheus and evaluate the rules of deploy/prometheus over their time.

promtool backfills recording rules only. Alerts are therefore evaluated by a range query of each expression,
at the steps at which Prometheus would evaluate it, and `for` is applied to the result
(docs/decisions/0030-prove-with-faults-from-outside.md).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from proofs.incidents.replay.firing import Firing, apply_for
from proofs.incidents.replay.recording import Recording, Scenario
from sandbox.monitoring.prometheus import prometheus, run_promtool
from sandbox.monitoring.queries import Queries
from sandbox.monitoring.rules import Alert, alerts, rule_files
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

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def firings(self, scenario: Scenario) -> list[Firing]:
        """Return every alert that fires within the time of a scenario."""
        return [firing for alert in alerts() for firing in self._evaluate(alert, scenario)]

    def has_samples(self, name: str, scenario: Scenario) -> bool:
        """Whether a series has samples within the time of a scenario."""
        since, until = scenario.recorded_time
        seconds = (until - since).total_seconds()
        return bool(self._queries.at(f"count_over_time({name}[{seconds:.0f}s])", until))

    def _evaluate(self, alert: Alert, scenario: Scenario) -> Iterator[Firing]:
        for series in self._queries.between(alert.expr, *scenario.recorded_time, STEP_SECONDS):
            times = [moment.timestamp() for moment, _ in series.points]
            firing = apply_for(times, alert, scenario.steps(STEP_SECONDS))
            if firing:
                labels = {**series.labels, "alertname": alert.name, "severity": alert.severity}
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
        with Queries(server.url, QUERY_TIMEOUT_SECONDS) as queries:
            yield Replay(queries)


def _record_rules(server: Service, scenario: Scenario, data: Path) -> None:
    since, until = scenario.recorded_time
    run_promtool(
        "tsdb", "create-blocks-from", FULL_BLOCKS, "rules", f"--url={server.url}",
        f"--start={since.timestamp():.0f}", f"--end={until.timestamp():.0f}",
        f"--output-dir={data}", f"--eval-interval={STEP_SECONDS:.0f}s", *rule_files(),
    )  # fmt: skip
