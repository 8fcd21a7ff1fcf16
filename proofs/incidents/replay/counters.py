"""What the processes count: two handlers, the edge, and the monitoring itself."""

from collections import Counter
from collections.abc import Iterator
from itertools import product

from leads.adapters.metrics import (
    CRON_RESULTS,
    EVENT_RESULTS,
    LATENCY_BUCKETS_SECONDS,
    LOG_LEVELS,
    NOTIFICATION_RESULTS,
    PROCESS_BUCKETS_SECONDS,
    WEBHOOK_STATUSES,
)
from proofs.incidents.replay.conditions import CRONS, Conditions
from proofs.incidents.replay.figures import CONNECTION, Sample
from proofs.incidents.replay.minute import Minute

EDGE_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)
"""As in deploy/nginx/lua/pancake/metrics.lua."""
PATHS, RESULTS = ("hasura", "handlers"), ("ok", "refused", "down")
ANSWER_SECONDS = 1.6
"""Twice EDGE_PATH_TIMEOUT_MS: then the edge keeps the delivery and answers."""
SPOOLED_BYTES = 2000.0
CHECKS = ("database", "event_trigger", "hasura", "consistent", "allow_list", "notifications")


class Histogram:
    """The buckets of one series, cumulative as Prometheus has them."""

    def __init__(self, name: str, labels: str, bounds: tuple[float, ...]) -> None:
        self._name, self._labels = name, labels
        self._counts = {str(bound): 0 for bound in (*bounds, "+Inf")}
        self._bounds = bounds

    def observe(self, seconds: float, count: int) -> None:
        for bound in self._bounds:
            if seconds <= bound:
                self._counts[str(bound)] += count
        self._counts["+Inf"] += count

    def samples(self) -> Iterator[Sample]:
        for bound, count in self._counts.items():
            labels = ",".join(filter(None, (self._labels, f'le="{bound}"')))
            yield f"{self._name}_bucket", labels, float(count)


class Handlers:
    """One process of the handlers. It takes its share of what a minute has; a restart begins at 0."""

    def __init__(self) -> None:
        latency = "pancake_webhook_latency_seconds"
        self._latency = Histogram(latency, 'hop="handler"', LATENCY_BUCKETS_SECONDS)
        self._duration = Histogram("pancake_event_process_duration_seconds", "", PROCESS_BUCKETS_SECONDS)
        self._counts: Counter[tuple[str, str]] = Counter()

    def count(self, seen: Minute, number: int, processes: int) -> None:
        """Count the share of process `number`, from 0, of so many."""

        def share(count: int) -> int:
            return count // processes + (number < count % processes)

        for status, count in seen.stored.items():
            self._counts["pancake_webhook_requests_total", f'status="{status}"'] += share(count)
        for result, count in seen.results.items():
            self._counts["pancake_events_total", f'result="{result}"'] += share(count)
            route = 'route="/events/process_record",code="200"'
            self._counts["pancake_http_requests_total", route] += share(count)
        self._counts["pancake_notifications_total", 'result="accepted"'] += share(seen.notified)
        self._counts["pancake_webhook_missed_total", 'origin="poll"'] += share(seen.missed)
        for name, count in seen.cron_runs.items():
            self._counts["pancake_cron_runs_total", f'name="{name}",result="succeeded"'] += share(count)
        self._counts["pancake_log_messages_total", 'level="error"'] += share(seen.errors)
        for seconds, count in seen.store_seconds:
            # A delivery from the spool is stored as fast as another one; it waited elsewhere.
            self._latency.observe(seconds if seconds < 60 else 0.01, share(count))
        for seconds, count in seen.process_seconds:
            self._duration.observe(seconds, share(count))

    def samples(self) -> Iterator[Sample]:
        for name, label, values in (
            ("pancake_webhook_requests_total", "status", WEBHOOK_STATUSES),
            ("pancake_events_total", "result", EVENT_RESULTS),
            ("pancake_notifications_total", "result", NOTIFICATION_RESULTS),
            ("pancake_webhook_missed_total", "origin", ("poll", "reconcile")),
            ("pancake_log_messages_total", "level", LOG_LEVELS),
        ):
            for value in values:
                labels = f'{label}="{value}"'
                yield name, labels, float(self._counts[name, labels])
        for cron, result in product(CRONS, CRON_RESULTS):
            labels = f'name="{cron}",result="{result}"'
            runs = "pancake_cron_runs_total"
            yield runs, labels, float(self._counts[runs, labels])
        yield "pancake_whole_row_deliveries_total", "", 0.0
        for code in ("200", "400"):
            labels = f'route="/events/process_record",code="{code}"'
            yield (
                "pancake_http_requests_total",
                labels,
                float(self._counts["pancake_http_requests_total", labels]),
            )
        yield from self._latency.samples()
        yield from self._duration.samples()


def checks(now: Conditions) -> Iterator[Sample]:
    """Return what a process finds of Hasura."""
    failed = {
        "event_trigger": not now.event_trigger_exists,
        "allow_list": not now.allow_list_has_ours,
    }
    for check in CHECKS:
        yield "pancake_engine_check", f'check="{check}"', float(not failed.get(check, False))


def breaker(start: float, seen: Minute) -> Iterator[Sample]:
    """Return the circuit breaker of Pancake's API."""
    labels = f'name="pancake_rest",connection="{CONNECTION}"'
    since = seen.breaker_open_since
    opened = "pancake_circuit_breaker_open_since_timestamp_seconds"
    yield opened, labels, 0.0 if since is None else start + since
    answered = "pancake_circuit_breaker_last_success_timestamp_seconds"
    yield answered, labels, start + seen.pancake_answered_at


class Edge:
    """The edge: requests, attempts on its paths, spool."""

    def __init__(self) -> None:
        latency = "pancake_webhook_latency_seconds"
        self._latency = Histogram(latency, 'hop="edge"', EDGE_BUCKETS_SECONDS)
        self._requests: Counter[str] = Counter(received=0, spooled=0, not_found=0)
        self._attempts = Counter(dict.fromkeys(((path, result) for path in PATHS for result in RESULTS), 0))
        self._policy_age_seconds = 0.0

    def count(self, seen: Minute, now: Conditions, strangers: int) -> None:
        """Count a minute; `strangers` ask for pages that do not exist."""
        self._requests.update(seen.edge)
        self._requests["not_found"] += strangers
        self._attempts.update(seen.upstream)
        self._policy_age_seconds = 15.0 if now.is_served else self._policy_age_seconds + 60
        for seconds, count in seen.store_seconds:
            if seconds < 60:
                self._latency.observe(min(seconds + 0.002, ANSWER_SECONDS), count)

    def samples(self, spooled: int) -> Iterator[Sample]:
        for status, count in self._requests.items():
            code = "404" if status == "not_found" else "200"
            labels = f'hop="edge",status="{status}",code="{code}"'
            yield "pancake_webhook_requests_total", labels, float(count)
        for (path, result), count in self._attempts.items():
            labels = f'upstream="{path}",result="{result}"'
            yield "pancake_edge_upstream_seconds_count", labels, float(count)
        yield from self._latency.samples()
        for folder in ("spool", "unknown", "quarantine"):
            labels, files = f'folder="{folder}"', spooled if folder == "spool" else 0
            yield "pancake_edge_spool_files", labels, float(files)
            yield "pancake_edge_spool_bytes", labels, files * SPOOLED_BYTES
            yield "pancake_edge_shed_total", labels, 0.0
        yield "pancake_edge_spool_limit_files", "", 200_000.0
        yield "pancake_edge_spool_limit_bytes", "", 1e9
        yield "pancake_edge_spool_writable", "", 1.0
        yield "pancake_edge_budget_used", f'connection="{CONNECTION}"', 0.0
        yield "pancake_edge_budget_limit", "", 40.0
        yield "pancake_edge_unproved_failures", f'connection="{CONNECTION}"', 0.0
        yield "pancake_edge_policy_age_seconds", "", self._policy_age_seconds


def prometheus() -> Iterator[Sample]:
    """Return what Prometheus shows of itself on a good day."""
    yield "prometheus_build_info", "", 1.0
    yield "prometheus_rule_evaluation_failures_total", 'rule_group="pancake_meta"', 0.0
    yield "prometheus_notifications_alertmanagers_discovered", "", 1.0
    yield "prometheus_notifications_dropped_total", "", 0.0


def alertmanager() -> Iterator[Sample]:
    """Return what Alertmanager shows of itself on a good day."""
    yield "alertmanager_build_info", "", 1.0
    yield "alertmanager_notifications_failed_total", 'integration="slack"', 0.0
