"""The series of a minute: what processes count, and the figures that handlers read from the database."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import product
from math import inf, nan
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
from leads.domain.health import ACTIVE, OUTAGE
from leads.services.cron_work import CRON_PERIOD_SECONDS
from leads.services.metrics import FIGURES
from proofs.incidents.model import CRONS, Conditions, Minute, Model

CONNECTION = "f0000000-0000-4000-8000-000000000001"
NEIGHBOUR = "f0000000-0000-4000-8000-000000000002"
"""A second connection, of which only the deliveries and an outage are modelled."""
SOURCE = "24895"
PROCESS_ROUTE = "/events/process_record"
HOUR, DAY = 60, 1440
STUCK_AFTER_MINUTES = 5
FAILED_RESULTS = ("failed", "dead_letter", "invalid")
STATUSES = ("active", "silent", "suspended", "outage", "key_invalid", "disabled")
CHECKS = ("database", "writable", "event_trigger", "hasura", "consistent", "allow_list", "notifications")
EDGE_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)
"""As in deploy/nginx/lua/pancake/metrics.lua."""
ANSWER_SECONDS = 1.6
"""Twice EDGE_PATH_TIMEOUT_MS: then the edge keeps the delivery and answers."""
SPOOLED_BYTES = 2000.0
LATENCY, DURATION = "pancake_webhook_latency_seconds", "pancake_event_process_duration_seconds"
Sample = tuple[str, str, float]
"""Name, labels as text, value."""
Times = Sequence[tuple[float, int]]
"""How long something took, and how many times."""


def named(name: str, /, **labels: Iterable[str]) -> list[tuple[str, str]]:
    """Return the series of all values of the labels."""
    pairs = ([f'{label}="{value}"' for value in values] for label, values in labels.items())
    return [(name, ",".join(each)) for each in product(*pairs)]


@cache
def buckets(name: str, labels: str, bounds: tuple[float, ...]) -> list[tuple[str, str]]:
    limits = (f'le="{bound}"' for bound in (*bounds, "+Inf"))
    return [(f"{name}_bucket", ",".join(filter(None, (labels, limit)))) for limit in limits]


class Process:
    """What a process counts, from 0 on when it starts; other series are not shown."""

    def __init__(self, shown: Iterable[tuple[str, str]]) -> None:
        self._counts = Counter(dict.fromkeys(shown, 0))
        self._shown = list(self._counts)

    def add(self, name: str, labels: str, count: int) -> None:
        self._counts[name, labels] += count

    def observe(self, name: str, labels: str, bounds: tuple[float, ...], seconds: float, count: int) -> None:
        for bound, (bucket, limit) in zip((*bounds, inf), buckets(name, labels, bounds), strict=True):
            if seconds <= bound:
                self._counts[bucket, limit] += count

    def samples(self) -> Iterator[Sample]:
        for name, labels in self._shown:
            yield name, labels, float(self._counts[name, labels])


class Handlers(Process):
    """One process of the handlers, of a commit, since `started`. It takes its share of what a minute has."""

    def __init__(self, started: float = 0.0, commit: str = "a") -> None:
        self.started, self.commit = started, commit
        super().__init__([
            *named("pancake_webhook_requests_total", status=WEBHOOK_STATUSES),
            *named("pancake_events_total", result=EVENT_RESULTS),
            *named("pancake_notifications_total", result=NOTIFICATION_RESULTS),
            *named("pancake_webhook_missed_total", origin=("poll", "reconcile")),
            *named("pancake_log_messages_total", level=LOG_LEVELS),
            *named("pancake_cron_runs_total", name=CRONS, result=CRON_RESULTS),
            *named("pancake_http_requests_total", route=(PROCESS_ROUTE,), code=("200", "400", "401")),
            *named("pancake_whole_row_deliveries_total"),
            *buckets(LATENCY, 'hop="handler"', LATENCY_BUCKETS_SECONDS),
            *buckets(DURATION, "", PROCESS_BUCKETS_SECONDS),
        ])  # fmt: skip

    def gauges(self, now: Conditions, at: float) -> Iterator[Sample]:
        """Return what it shows of itself at a time."""
        yield "process_start_time_seconds", "", self.started
        yield "pancake_build_info", f'version="1",commit="{self.commit}"', 1.0
        yield "pancake_token_ends_timestamp_seconds", "", at + now.token_days * 86_400

    def refuse_calls(self, calls: int) -> None:
        """Count calls of a Hasura with another secret."""
        self.add("pancake_http_requests_total", f'route="{PROCESS_ROUTE}",code="401"', calls)

    def count(self, seen: Minute, number: int, processes: int) -> None:
        """Count the share of process `number`, from 0, of so many."""

        def share(count: int) -> int:
            return count // processes + (number < count % processes)

        for status, count in seen.stored.items():
            self.add("pancake_webhook_requests_total", f'status="{status}"', share(count))
        for result, count in seen.results.items():
            self.add("pancake_events_total", f'result="{result}"', share(count))
            self.add("pancake_http_requests_total", f'route="{PROCESS_ROUTE}",code="200"', share(count))
        self.add("pancake_notifications_total", 'result="accepted"', share(seen.notified))
        self.add("pancake_webhook_missed_total", 'origin="poll"', share(seen.missed))
        for name, count in seen.cron_runs.items():
            self.add("pancake_cron_runs_total", f'name="{name}",result="succeeded"', share(count))
        self.add("pancake_log_messages_total", 'level="error"', share(seen.errors))
        for seconds, count in seen.store_seconds:
            # A delivery from the spool is stored as fast as another one; it waited elsewhere.
            quick = seconds if seconds < 60 else 0.01
            self.observe(LATENCY, 'hop="handler"', LATENCY_BUCKETS_SECONDS, quick, share(count))
        for seconds, count in seen.process_seconds:
            self.observe(DURATION, "", PROCESS_BUCKETS_SECONDS, seconds, share(count))


EDGE_CODES = {"received": "200", "spooled": "200", "not_found": "404"}


class Edge(Process):
    """The edge: requests, attempts on its paths, spool."""

    def __init__(self) -> None:
        paths, results = ("hasura", "handlers"), ("ok", "refused", "down")
        super().__init__([
            *(self._request(status) for status in EDGE_CODES),
            *named("pancake_edge_upstream_seconds_count", upstream=paths, result=results),
            *buckets(LATENCY, 'hop="edge"', EDGE_BUCKETS_SECONDS),
        ])  # fmt: skip
        self._policy_age_seconds = 0.0

    @staticmethod
    def _request(status: str) -> tuple[str, str]:
        labels = f'hop="edge",status="{status}",code="{EDGE_CODES[status]}"'
        return "pancake_webhook_requests_total", labels

    def count(self, seen: Minute, now: Conditions) -> None:
        """Count a minute, in which a stranger asks for a page that does not exist."""
        for status, count in (*seen.edge.items(), ("not_found", 1)):
            self.add(*self._request(status), count)
        for (path, result), count in seen.upstream.items():
            labels = f'upstream="{path}",result="{result}"'
            self.add("pancake_edge_upstream_seconds_count", labels, count)
        is_fetched = now.can_write and now.edge_finds_paths
        self._policy_age_seconds = 15.0 if is_fetched else self._policy_age_seconds + 60
        for seconds, count in seen.store_seconds:
            if seconds < 60:
                answered = min(seconds + 0.002, ANSWER_SECONDS)
                self.observe(LATENCY, 'hop="edge"', EDGE_BUCKETS_SECONDS, answered, count)

    def gauges(self, spooled: int, now: Conditions, at: float) -> Iterator[Sample]:
        yield "pancake_edge_token_ends_timestamp_seconds", "", at + 60 * 86_400
        yield "pancake_edge_certificate_ends_timestamp_seconds", "", at + now.certificate_days * 86_400
        for folder in ("spool", "unknown", "quarantine"):
            labels, files = f'folder="{folder}"', spooled if folder == "spool" else 0
            yield "pancake_edge_spool_files", labels, float(files)
            yield "pancake_edge_spool_bytes", labels, files * SPOOLED_BYTES
            yield "pancake_edge_shed_total", labels, 0.0
        yield "pancake_edge_spool_limit_files", "", 200_000.0
        yield "pancake_edge_spool_limit_bytes", "", 1e9
        yield "pancake_edge_spool_writable", "", float(now.edge_disk_writable)
        yield "pancake_edge_budget_used", f'connection="{CONNECTION}"', 0.0
        yield "pancake_edge_budget_limit", "", 40.0
        yield "pancake_edge_unproved_failures", f'connection="{CONNECTION}"', 0.0
        yield "pancake_edge_policy_age_seconds", "", self._policy_age_seconds


PROMETHEUS: list[Sample] = [
    ("prometheus_build_info", "", 1.0),
    ("prometheus_rule_evaluation_failures_total", 'rule_group="pancake_meta"', 0.0),
    ("prometheus_notifications_alertmanagers_discovered", "", 1.0),
    ("prometheus_notifications_dropped_total", "", 0.0),
]
"""What it shows of itself on a good day."""
ALERTMANAGER: list[Sample] = [
    ("alertmanager_build_info", "", 1.0),
    ("alertmanager_notifications_failed_total", 'integration="slack"', 0.0),
]


def of_traffic(
    model: Model, minute: int, recent: Sequence[Minute], before: Sequence[Sequence[int]], now: Conditions
) -> Iterator[Sample]:
    """Return the figures that grow with the traffic.

    `recent` are the minutes of the last hour, oldest first; `before` the deliveries of each minute in each of
    the weeks before.
    """
    stored = [pair for each in recent for pair in each.store_seconds]
    processed = [pair for each in recent for pair in each.process_seconds]
    yield from _key_figures(model, minute, processed, now)
    rows, span = model.stored, slice(max(0, minute - HOUR + 1), minute + 1)
    webhook, poll, dead = sum(rows.webhook[span]), sum(rows.poll[span]), sum(rows.dead[span])
    held, by_source, invalid = sum(rows.held[span]), sum(rows.held_by_source[span]), sum(rows.invalid[span])
    for status, origin, count in (
        ("processed", "webhook", webhook - dead - held - invalid), ("processed", "poll", poll),
        ("dead_letter", "webhook", dead), ("dead_letter", "poll", 0), ("invalid", "webhook", invalid),
        ("skipped_kill_switch", "webhook", held - by_source),
        ("skipped_source_disabled", "webhook", by_source),
    ):  # fmt: skip
        yield "pancake_recent_events", f'status="{status}",origin="{origin}"', float(count)
    of_source = f'connection="{CONNECTION}",source="{{}}"'
    yield "pancake_recent_source_events", of_source.format("other"), float(by_source)
    if now.source_on:
        yield "pancake_recent_source_events", of_source.format(SOURCE), float(webhook + poll - by_source)
    yield "pancake_recent_deliveries", f'connection="{CONNECTION}"', float(webhook)
    usual = median(sum(week[span]) for week in before)
    yield "pancake_usual_deliveries", f'connection="{CONNECTION}"', float(usual)
    for stage, times in (("store", stored), ("process", processed)):
        for leads, counted, quantile in (("20", _newest(times, 20), 0.95), ("1h", times, 0.99)):
            if sum(count for _, count in counted):
                labels = f'stage="{stage}",leads="{leads}",quantile="{quantile}"'
                yield "pancake_recent_lead_seconds", labels, _quantile(counted, quantile)
    yield from _counted(recent)


def _key_figures(model: Model, minute: int, processed: Times, now: Conditions) -> Iterator[Sample]:
    rows, last = model.stored, minute + 1
    for window, length in (("1d", DAY), ("1h", HOUR)):
        first = max(0, last - length)
        counts = {
            name: sum(getattr(rows, name)[first:last]) for name in ("processed", "failed", "dead", "held")
        }
        counts["invalid"] = sum(rows.invalid[first:last])
        counts["stuck"] = _waiting(model, first, last - STUCK_AFTER_MINUTES)
        counts["waiting"] = _waiting(model, first, last) - counts["stuck"]
        for result, count in counts.items():
            yield "pancake_kpi_deliveries", f'window="{window}",result="{result}"', float(count)
        if due := counts["processed"] + counts["failed"] + counts["dead"] + counts["stuck"]:
            yield "pancake_kpi_success_ratio", f'window="{window}"', counts["processed"] / due
    if sum(count for _, count in processed):
        yield "pancake_kpi_latency_seconds", 'window="1h",quantile="0.95"', _quantile(processed, 0.95)
    yield "pancake_kpi_found_missing", 'window="1d"', float(now.found_missing)
    yield "pancake_kpi_left_missing", 'window="1d"', 0.0


def _waiting(model: Model, first: int, last: int) -> int:
    rows = model.stored
    created, settled = (
        sum(sum(counts[first : max(first, last)]) for counts in group)
        for group in (
            (rows.webhook, rows.poll),
            (rows.processed, rows.failed, rows.dead, rows.held, rows.invalid),
        )
    )
    return created - settled


def _newest(times: Times, count: int) -> Times:
    """Return the last `count` of the times."""
    found: list[tuple[float, int]] = []
    for seconds, number in reversed(times):
        found.append((seconds, min(number, count)))
        count -= min(number, count)
    return found


def _quantile(times: Times, quantile: float) -> float:
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


def of_neighbour(minute: int, deliveries: Sequence[int], before: Sequence[Sequence[int]]) -> Iterator[Sample]:
    """Return the figures of the second connection, given its deliveries in this week and those before."""
    span, labels = slice(max(0, minute - HOUR + 1), minute + 1), f'connection="{NEIGHBOUR}"'
    yield "pancake_recent_deliveries", labels, float(sum(deliveries[span]))
    yield "pancake_usual_deliveries", labels, float(median(sum(week[span]) for week in before))


def of_looks(model: Model, minute: int, now: Conditions) -> Iterator[Sample]:
    """Return what a process finds of Hasura and Pancake, and when it last read figures."""
    at = model.start.timestamp() + minute * 60
    for figure in FIGURES:
        age = 60.0 if figure.is_of_window else 5.0  # at the earliest
        read_at = at - age if now.database_up else model.start.timestamp() + model.database_seen_at
        labels = f'query="{figure.name}"'
        yield "pancake_sql_last_success_timestamp_seconds", labels, read_at + now.clock_ahead_seconds
    failed = {
        "event_trigger": not now.event_trigger_exists, "allow_list": not now.allow_list_has_ours,
        "database": not now.database_up, "hasura": not now.engine_up,
        "writable": not (now.database_writable or now.is_full),
    }  # fmt: skip
    unknown = {"writable", "event_trigger"} if not now.database_up else set()
    unknown |= {"consistent", "allow_list", "notifications"} if not now.engine_up else set()
    for check in CHECKS:
        value = nan if check in unknown else float(not failed.get(check, False))
        yield "pancake_engine_check", f'check="{check}"', value


def of_states(model: Model, minute: int, now: Conditions) -> Iterator[Sample]:
    """Return the states of a minute, and what a process finds of Pancake's API."""
    start = model.start.timestamp()

    def at(since: float | None) -> float:
        return 0.0 if since is None else start + since

    oldest, unsent = model.oldest(minute), "pancake_unsent_notification_oldest_timestamp_seconds"
    for status in ("received", "ingested", "failed", "dead_letter"):
        name = "pancake_stored_event_oldest_timestamp_seconds"
        yield name, f'status="{status}"', at(oldest.get(status))
    for switch, is_on in (("kill_switch", now.kill_switch), ("processing_paused", False)):
        yield "pancake_switch_on", f'switch="{switch}"', float(is_on)
        changed = "pancake_switch_changed_timestamp_seconds"
        yield changed, f'switch="{switch}"', start + model.switched_at
    for status in STATUSES:
        labels = f'connection="{CONNECTION}",status="{status}"'
        shown = model.status if now.connection_on else "disabled"
        yield "pancake_connection_status", labels, float(status == shown)
        neighbour = OUTAGE if model.status == OUTAGE and not now.neighbour_delivers else ACTIVE
        labels = f'connection="{NEIGHBOUR}",status="{status}"'
        yield "pancake_connection_status", labels, float(status == neighbour)
    yield "pancake_holiday", "", float(now.is_holiday)
    for state, events in (("pending", 0), ("locked", now.locked_events), ("failed", 0)):
        yield "pancake_engine_events", f'state="{state}"', float(events)
    for log in ("event_log", "hdb_cron_events"):
        yield "pancake_engine_log_rows", f'log="{log}"', 200_000.0
        yield "pancake_engine_log_dead_rows", f'log="{log}"', 20_000.0
    yield unsent, 'source="events"', at(model.unsent_since)
    yield unsent, 'source="runs"', 0.0
    yield "pancake_unassigned_ticket_oldest_timestamp_seconds", "", at(model.unassigned_since)
    for name, succeeded_at in model.cron_succeeded_at.items():
        labels = f'name="{name}"'
        yield "pancake_later_cron_ticks", labels, 100.0 * (name in now.scheduled_crons)
        yield "pancake_lost_cron_ticks", labels, 0.0
        yield "pancake_cron_last_success_timestamp_seconds", labels, start + succeeded_at
        yield "pancake_cron_period_seconds", labels, float(CRON_PERIOD_SECONDS[name])
    labels, breaker = 'name="pancake_rest",host="https://crm.pancake.vn"', "pancake_circuit_breaker"
    yield f"{breaker}_open_since_timestamp_seconds", labels, at(model.breaker_open_since)
    yield f"{breaker}_last_success_timestamp_seconds", labels, start + model.pancake_answered_at
