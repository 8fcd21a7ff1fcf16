"""The series of a minute: what processes count, and the figures that handlers read from the database."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import product
from statistics import median

from leads.adapters.metrics import (
    CRON_RESULTS,
    EVENT_RESULTS,
    LATENCY_BUCKETS_SECONDS,
    LOG_LEVELS,
    NOTIFICATION_RESULTS,
    PROCESS_BUCKETS_SECONDS,
    WEBHOOK_STATUSES,
)
from leads.services.cron_work import CRON_PERIOD_SECONDS
from leads.services.metrics import FIGURES
from proofs.incidents.replay.model import CRONS, Conditions, Minute, Stored

CONNECTION = "f0000000-0000-4000-8000-000000000001"
HOUR, DAY = 60, 1440
STUCK_AFTER_MINUTES = 5
WEEKS_BEFORE = 4
FAILED_RESULTS = ("failed", "dead_letter", "invalid")
STATUSES = ("active", "silent", "suspended", "outage", "key_invalid", "disabled")
READ_SECONDS_AGO = {figure.name: 60.0 if figure.is_of_window else 5.0 for figure in FIGURES}
"""How old each figure is at a scrape, at most, in seconds."""
Sample = tuple[str, str, float]
"""Name, labels as text, value."""


class Figures:
    """The figures of the database in each minute.

    `before` are the deliveries of each minute in the four weeks before, a list of each week.
    """

    def __init__(self, start: datetime, stored: Stored, before: Sequence[Sequence[int]]) -> None:
        self._start = start.timestamp()
        self._stored = stored
        self._before = before

    def slow(self, minute: int, recent: Sequence[Minute], now: Conditions) -> Iterator[Sample]:
        """Return what grows with the traffic. `recent` are the minutes of the last hour, oldest first."""
        yield from self._key_figures(minute, recent, now)
        yield from self._recent(minute, recent)
        yield from _counted(recent)

    def fast(self, minute: int, seen: Minute, now: Conditions) -> Iterator[Sample]:
        """Return the states of a minute."""
        yield from self._states(seen, now)
        yield from self._crons(seen, now)
        age = "pancake_sql_last_success_timestamp_seconds"
        for query, seconds in READ_SECONDS_AGO.items():
            yield age, f'query="{query}"', self._start + minute * 60 - seconds

    def _key_figures(self, minute: int, recent: Sequence[Minute], now: Conditions) -> Iterator[Sample]:
        rows = self._stored
        for window, length in (("1d", DAY), ("1h", HOUR)):
            first, last = max(0, minute - length + 1), minute + 1
            counts = {
                "processed": sum(rows.processed[first:last]),
                "failed": sum(rows.failed[first:last]),
                "dead": sum(rows.dead[first:last]),
                "held": sum(rows.held[first:last]),
                "invalid": 0,
            }
            counts["stuck"] = self._waiting(first, last - STUCK_AFTER_MINUTES)
            counts["waiting"] = self._waiting(first, last) - counts["stuck"]
            for result, count in counts.items():
                yield "pancake_kpi_deliveries", f'window="{window}",result="{result}"', float(count)
            due = counts["processed"] + counts["failed"] + counts["dead"] + counts["stuck"]
            if due:
                yield "pancake_kpi_success_ratio", f'window="{window}"', counts["processed"] / due
        durations = [pair for each in recent for pair in each.process_seconds]
        if sum(count for _, count in durations):
            labels = 'window="1h",quantile="0.95"'
            yield "pancake_kpi_latency_seconds", labels, _quantile(durations, 0.95)
        yield "pancake_kpi_found_missing", 'window="1d"', float(now.found_missing)
        yield "pancake_kpi_left_missing", 'window="1d"', 0.0

    def _waiting(self, first: int, last: int) -> int:
        rows = self._stored
        created, settled = (
            sum(sum(counts[first : max(first, last)]) for counts in group)
            for group in ((rows.webhook, rows.poll), (rows.processed, rows.failed, rows.dead, rows.held))
        )
        return created - settled

    def _recent(self, minute: int, recent: Sequence[Minute]) -> Iterator[Sample]:
        rows = self._stored
        span = slice(max(0, minute - HOUR + 1), minute + 1)
        webhook, poll, dead = sum(rows.webhook[span]), sum(rows.poll[span]), sum(rows.dead[span])
        for status, origin, count in (
            ("processed", "webhook", webhook - dead),
            ("processed", "poll", poll),
            ("dead_letter", "webhook", dead),
            ("dead_letter", "poll", 0),
        ):
            yield "pancake_recent_events", f'status="{status}",origin="{origin}"', float(count)
        yield "pancake_recent_deliveries", f'connection="{CONNECTION}"', float(webhook)
        usual = median(sum(week[span]) for week in self._before)
        yield "pancake_usual_deliveries", f'connection="{CONNECTION}"', float(usual)
        for stage, times in (
            ("store", [pair for each in recent for pair in each.store_seconds]),
            ("process", [pair for each in recent for pair in each.process_seconds]),
        ):
            for leads, counted, quantile in (("20", _newest(times, 20), 0.95), ("1h", times, 0.99)):
                if sum(count for _, count in counted):
                    labels = f'stage="{stage}",leads="{leads}",quantile="{quantile}"'
                    yield "pancake_recent_lead_seconds", labels, _quantile(counted, quantile)

    def _states(self, seen: Minute, now: Conditions) -> Iterator[Sample]:
        oldest = "pancake_stored_event_oldest_timestamp_seconds"
        for status in ("received", "ingested", "failed", "dead_letter"):
            yield oldest, f'status="{status}"', self._since(seen.oldest.get(status))
        for switch, is_on in (("kill_switch", now.kill_switch), ("processing_paused", False)):
            yield "pancake_switch_on", f'switch="{switch}"', float(is_on)
            changed = "pancake_switch_changed_timestamp_seconds"
            yield changed, f'switch="{switch}"', self._start + seen.switched_at
        for status in STATUSES:
            labels = f'connection="{CONNECTION}",status="{status}"'
            yield "pancake_connection_status", labels, float(status == seen.status)
        for state, events in (("pending", 0), ("locked", now.locked_events), ("failed", 0)):
            yield "pancake_engine_events", f'state="{state}"', float(events)
        for log in ("event_log", "hdb_cron_events"):
            yield "pancake_engine_log_rows", f'log="{log}"', 200_000.0
            yield "pancake_engine_log_dead_rows", f'log="{log}"', 20_000.0
        unsent = "pancake_unsent_notification_oldest_timestamp_seconds"
        yield unsent, 'source="events"', self._since(seen.unsent_since)
        yield unsent, 'source="runs"', 0.0
        yield "pancake_unassigned_ticket_oldest_timestamp_seconds", "", self._since(seen.unassigned_since)

    def _crons(self, seen: Minute, now: Conditions) -> Iterator[Sample]:
        for name, succeeded_at in seen.cron_succeeded_at.items():
            labels = f'name="{name}"'
            yield "pancake_later_cron_ticks", labels, 100.0 * (name in now.scheduled_crons)
            yield "pancake_lost_cron_ticks", labels, 0.0
            yield "pancake_cron_last_success_timestamp_seconds", labels, self._start + succeeded_at

    def _since(self, since: float | None) -> float:
        return 0.0 if since is None else self._start + since


def periods() -> Iterator[Sample]:
    """Return the gauges that never change."""
    for name, seconds in CRON_PERIOD_SECONDS.items():
        yield "pancake_cron_period_seconds", f'name="{name}"', float(seconds)


def _newest(times: Sequence[tuple[float, int]], count: int) -> list[tuple[float, int]]:
    """Return the last `count` of the times."""
    found: list[tuple[float, int]] = []
    for seconds, number in reversed(times):
        found.append((seconds, min(number, count)))
        count -= min(number, count)
    return found


def _quantile(times: Sequence[tuple[float, int]], quantile: float) -> float:
    """Return a quantile of times that are given with their number."""
    left = quantile * sum(count for _, count in times)
    for seconds, count in sorted(times):
        left -= count
        if left <= 0:
            return seconds
    return max(seconds for seconds, _ in times)


def _counted(recent: Sequence[Minute]) -> Iterator[Sample]:
    """Return the rows behind the counters: in the model each has exactly as many as are counted."""
    stored = sum((each.stored for each in recent), Counter[str]())
    results = sum((each.results for each in recent), Counter[str]())
    failed = sum(results[result] for result in FAILED_RESULTS)
    rows = {
        "deliveries": stored.total() - stored["duplicate"] - stored["unknown_token"],
        "processed": results.total() - failed,
        "failed": failed,
        "notifications": sum(each.notified for each in recent),
        "missed": sum(each.missed for each in recent),
        "cron_runs": sum(each.cron_runs.total() for each in recent),
    }
    for counter, count in rows.items():
        for bound in ("least", "most"):
            yield "pancake_counted_rows", f'counter="{counter}",bound="{bound}"', float(count)


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
    failed = {"event_trigger": not now.event_trigger_exists, "allow_list": not now.allow_list_has_ours}
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
