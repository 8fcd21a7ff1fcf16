"""The Prometheus series of a process. One registry per application, so that tests do not share counters."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import disable_created_metrics
from prometheus_client.registry import Collector

from leads.domain.event_states import DEAD_LETTER, HELD, RECEIVED, RESULTS

LATENCY_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10)
PROCESS_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BREAKER = "pancake_rest"
"""The name of the circuit breakers of Pancake's API, one for each host."""
WEBHOOK_STATUSES = (RECEIVED, "duplicate", *sorted(HELD), DEAD_LETTER, "unknown_token")
EVENT_RESULTS = (*RESULTS, "invalid")
"""`invalid` is a dead letter because of what it holds."""
CRON_RESULTS = ("succeeded", "failed", "skipped", "already_done")
NOTIFICATION_RESULTS = ("accepted", "duplicates", "failed", "unknown", "given_up", "dropped")
HTTP_CODES = ("200", "400", "401", "403", "409", "422", "500", "503")
"""What a route that is counted can answer."""
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

# No `_created` series: no rule reads them, and they are as many as the counters.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types for it


class Metrics:
    """The series of the handlers; docs/observability.md explains each."""

    def __init__(self, of_database: Sequence["Family"] = ()) -> None:
        """`of_database`: the series of `sql_series`."""
        self.registry = CollectorRegistry()
        # Memory and CPU, as every client library of Prometheus names them.
        ProcessCollector(registry=self.registry)
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self.webhook_requests = counter(
            "pancake_webhook_requests", "Deliveries by result of ingest", ["status"]
        )
        self.webhook_latency = histogram(
            "pancake_webhook_latency_seconds",
            "Time to store a delivery, by hop",
            ["hop"],
            buckets=LATENCY_BUCKETS_SECONDS,
        )
        self.process_duration = histogram(
            "pancake_event_process_duration_seconds",
            "Time from creation to processed, retries included, of events never held nor replayed",
            buckets=PROCESS_BUCKETS_SECONDS,
        )
        self.events = counter("pancake_events", "Processed events by outcome, others by result", ["result"])
        self.whole_row_deliveries = counter(
            "pancake_whole_row_deliveries", "Events with more columns of the row than our trigger delivers"
        )
        self.notifications = counter(
            "pancake_notifications", "Notifications by result of sending", ["result"]
        )
        self.cron_runs = counter("pancake_cron_runs", "Cron runs by result", ["name", "result"])
        self.cron_period = gauge(
            "pancake_cron_period_seconds", "Longest time between two ticks of a cron", ["name"]
        )
        self.webhook_missed = counter(
            "pancake_webhook_missed",
            "Versions of records that the webhook did not deliver, by the layer that found them",
            ["origin"],
        )
        self.requests = counter(
            "pancake_http_requests", "Requests to the handlers by route and status code", ["route", "code"]
        )
        self.log_messages = counter("pancake_log_messages", "Log lines by level", ["level"])
        self.engine_check = gauge(
            "pancake_engine_check", "1 if the check succeeded, 0 if not, NaN if unknown", ["check"]
        )
        self.circuit_breaker = gauge(
            "pancake_circuit_breaker_state", "0 closed, 1 half-open, 2 open", ["name"]
        )
        self.breaker_open_since = gauge(
            "pancake_circuit_breaker_open_since_timestamp_seconds",
            "When the breaker opened, kept while it is half-open; 0 while it is closed",
            ["name", "host"],
        )
        self.breaker_last_success = gauge(
            "pancake_circuit_breaker_last_success_timestamp_seconds",
            "When Pancake last answered a call; 0 before one",
            ["name", "host"],
        )
        self.build_info = gauge("pancake_build_info", "1, with the version", ["version", "commit"])
        self.token_ends = gauge(
            "pancake_token_ends_timestamp_seconds", "When HASURA_SERVICE_TOKEN ends; 0 if it does not say"
        )
        self.sql_last_success = gauge(
            "pancake_sql_last_success_timestamp_seconds",
            "When a figure was last read from the database; 0 before",
            ["query"],
        )
        self.sql_seconds = gauge("pancake_sql_seconds", "How long it took", ["query"])
        self.sql_series = SqlSeries(of_database)
        self.registry.register(self.sql_series)
        self._start_at_zero()

    def _start_at_zero(self) -> None:
        """Name every label of a closed set: increase() does not see the first event of a new series."""
        self.webhook_latency.labels("handler")
        for counter, values in (
            (self.webhook_requests, WEBHOOK_STATUSES),
            (self.events, EVENT_RESULTS),
            (self.notifications, NOTIFICATION_RESULTS),
            (self.webhook_missed, ("poll", "reconcile")),
            (self.log_messages, LOG_LEVELS),
        ):
            for value in values:
                counter.labels(value)

    def add_cron(self, name: str, period_seconds: float) -> None:
        """Name the series of a cron, its runs with 0."""
        self.cron_period.labels(name).set(period_seconds)
        for result in CRON_RESULTS:
            self.cron_runs.labels(name, result)

    def add_route(self, route: str) -> None:
        """Name the series of the requests to a route with 0."""
        for code in HTTP_CODES:
            self.requests.labels(route, code)

    def exposition(self) -> bytes:
        return generate_latest(self.registry)


Sample = tuple[str, tuple[str, ...], float]
"""Name of a family, values of its labels in their order, value."""


@dataclass(frozen=True, slots=True)
class Family:
    """A gauge: its name, what it is, and the names of its labels."""

    name: str
    help: str
    labels: tuple[str, ...]


class SqlSeries(Collector):
    """The samples of every statement, by its name. A family without samples has its help and type only."""

    def __init__(self, families: Sequence[Family]) -> None:
        self.families = families
        self._samples: dict[str, Sequence[Sample]] = {}

    def put(self, query: str, samples: Iterable[Sample]) -> None:
        """Replace the samples of a statement."""
        self._samples[query] = tuple(samples)

    def withdraw(self, query: str) -> None:
        """Remove the samples of a statement: no figure is better than an old one."""
        self._samples.pop(query, None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        gauges = {
            family.name: GaugeMetricFamily(family.name, family.help, labels=family.labels)
            for family in self.families
        }
        for samples in self._samples.values():
            for name, labels, value in samples:
                gauges[name].add_metric(labels, value)
        yield from gauges.values()
