"""The Prometheus series of a process. One registry per application, so that tests do not share counters."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10)
PROCESS_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The series of the handlers; docs/metrics.md explains each."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
        self.notifications = counter(
            "pancake_notifications", "Notifications by result of sending", ["result"]
        )
        self.unassigned_tickets = gauge(
            "pancake_unassigned_tickets",
            "Open tickets of the integration without an owner, at the last run of retry_failed",
        )
        self.oldest_unassigned_ticket = gauge(
            "pancake_unassigned_ticket_oldest_timestamp_seconds",
            "Creation time of the oldest of them; 0 without one",
        )
        self.cron_runs = counter("pancake_cron_runs", "Cron runs by result", ["name", "result"])
        self.lost_cron_ticks = gauge(
            "pancake_lost_cron_ticks",
            "Ticks of the last day that Hasura gave up, at the last run of retry_failed",
            ["name"],
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

    def exposition(self) -> bytes:
        """Return the text that `GET /metrics` answers."""
        return generate_latest(self.registry)
