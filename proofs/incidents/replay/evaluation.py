"""From the values of an expression over a time to the alerts that fire, as Prometheus applies `for`."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proofs.incidents.replay.recording import Recording, Scenario
from sandbox.monitoring.rules import Alert, Inhibition, Labels, alerts, rule_files
from sandbox.monitoring.servers import Queries, prometheus, run_promtool
from sandbox.processes import Processes, Service


@dataclass(frozen=True)
class Firing:
    """An alert with its labels, and the evaluations at which it fires, in seconds since 1970."""

    labels: tuple[tuple[str, str], ...]
    times: tuple[float, ...]

    @property
    def name(self) -> str:
        return dict(self.labels)["alertname"]


def apply_for(times: Sequence[float], alert: Alert, steps: Sequence[float]) -> tuple[float, ...]:
    """Return the evaluations, of `steps`, at which an alert fires.

    `times` are those at which its expression has a value. It fires when that holds for `for` without an
    evaluation in between that has none, and then until it has had none for `keep_firing_for`.
    """
    firing: list[float] = []
    active_since = fired_last = None
    has_value = set(times)
    for time in steps:
        if time in has_value:
            active_since = time if active_since is None else active_since
            if time - active_since >= alert.for_seconds:
                fired_last = time
                firing.append(time)
        elif fired_last is not None and time - fired_last < alert.keep_seconds:
            firing.append(time)
        else:
            active_since = fired_last = None
    return tuple(firing)


def sent(firings: Sequence[Firing], inhibitions: Iterable[Inhibition]) -> set[str]:
    """Return the names of the alerts that reach a receiver: those that fire unsilenced at any time."""
    at: dict[float, list[Labels]] = defaultdict(list)
    for firing in firings:
        for time in firing.times:
            at[time].append(dict(firing.labels))
    rules = tuple(inhibitions)
    return {
        target["alertname"]
        for together in at.values()
        for target in together
        if not any(
            rule.silences(source, target) for rule in rules for source in together if source is not target
        )
    }


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
