"""Which statement gives which series: one statement of sql/metrics each, and the key figures of sql/kpi."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from leads.adapters.database import Params, Row
from leads.adapters.sql_series import Sample
from leads.services.cron_runs import CRONS
from leads.services.unassigned_count import COUNT_TICKETS

EVENT_LOGS = ("event_log", "event_invocation_logs")
CRON_LOGS = ("hdb_cron_events", "hdb_cron_event_invocation_logs")

Pace = Literal["fast", "slow"]
"""How old a figure may be: what grows with the traffic of an hour or a day is read less often."""
PACES: tuple[Pace, Pace] = ("fast", "slow")


@dataclass(frozen=True, slots=True)
class Figure:
    """A statement: its pace, its series by column, the columns that are labels.

    `fixed` holds label values of a column, where several columns feed one family. A column that is null
    gives no sample, but 0 if it ends in `_at`. `of_engine`: it runs in Hasura's metadata database.
    """

    query: str
    pace: Pace
    series: Mapping[str, str]
    labels: tuple[str, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    params: Params = field(default_factory=dict)
    of_engine: bool = False
    statement: str = ""
    """The statement, if it is not named as the figure is."""

    def samples(self, rows: Iterable[Row]) -> list[Sample]:
        """Return the samples of the rows."""
        found: list[Sample] = []
        for row in rows:
            labels = tuple(str(row[label]) for label in self.labels)
            for column, name in self.series.items():
                value = row[column]
                if value is None and not column.endswith("_at"):
                    continue
                fixed = (self.fixed[column],) if column in self.fixed else ()
                found.append((name, (*labels, *fixed), _number(value)))
        return found


def _number(value: datetime | float | None) -> float:
    if value is None:
        return 0.0
    return value.timestamp() if isinstance(value, datetime) else float(value)


_EVENTS = {
    "events": "pancake_stored_events",
    "oldest_at": "pancake_stored_event_oldest_timestamp_seconds",
}
_ENGINE_EVENTS = {
    "events": "pancake_engine_events",
    "oldest_at": "pancake_engine_event_oldest_timestamp_seconds",
}
_LOGS = {"live_rows": "pancake_engine_log_rows", "dead_rows": "pancake_engine_log_dead_rows"}
_NAMES: Params = {"names": list(CRONS)}

FIGURES = (
    Figure("metrics/count_waiting", "fast", _EVENTS, ("status",)),
    Figure("metrics/count_held", "slow", _EVENTS, ("status",)),
    Figure("metrics/count_recent", "slow", {"events": "pancake_recent_events"}, ("status", "origin")),
    Figure(
        "metrics/count_counted",
        "slow",
        dict.fromkeys(("least", "most"), "pancake_counted_rows"),
        ("counter",),
        fixed={"least": "least", "most": "most"},
        params=_NAMES,
    ),
    Figure(
        "metrics/count_source_events",
        "slow",
        {"events": "pancake_recent_source_events"},
        ("connection", "source"),
    ),
    Figure(
        "metrics/load_last_leads",
        "slow",
        dict.fromkeys(("p95_seconds", "p99_seconds"), "pancake_recent_lead_seconds"),
        ("stage", "leads"),
        fixed={"p95_seconds": "0.95", "p99_seconds": "0.99"},
    ),
    Figure(
        "metrics/count_webhook_hours",
        "slow",
        {"deliveries": "pancake_recent_deliveries", "usual": "pancake_usual_deliveries"},
        ("connection",),
    ),
    Figure(
        "metrics/count_unsent",
        "fast",
        {
            "unsent": "pancake_unsent_notifications",
            "oldest_at": "pancake_unsent_notification_oldest_timestamp_seconds",
        },
        ("source",),
    ),
    Figure(
        COUNT_TICKETS,
        "fast",
        {
            "tickets": "pancake_unassigned_tickets",
            "oldest_at": "pancake_unassigned_ticket_oldest_timestamp_seconds",
        },
        params={"most": None},
    ),
    Figure(
        "metrics/list_connection_statuses",
        "fast",
        {"has_status": "pancake_connection_status"},
        ("connection", "status"),
    ),
    Figure(
        "metrics/list_connections",
        "fast",
        {
            "status_since_at": "pancake_connection_status_timestamp_seconds",
            "last_poll_at": "pancake_connection_last_poll_timestamp_seconds",
        },
        ("connection",),
    ),
    Figure(
        "metrics/load_switches",
        "fast",
        {"is_on": "pancake_switch_on", "changed_at": "pancake_switch_changed_timestamp_seconds"},
        ("switch",),
    ),
    Figure("metrics/count_engine_events", "fast", _ENGINE_EVENTS, ("state",)),
    Figure("metrics/count_failed_engine_events", "slow", _ENGINE_EVENTS, ("state",)),
    Figure("metrics/load_log_sizes", "slow", _LOGS, ("log",), params={"logs": list(EVENT_LOGS)}),
    Figure(
        "metrics/load_log_sizes of the crons",
        "slow",
        _LOGS,
        ("log",),
        params={"logs": list(CRON_LOGS)},
        of_engine=True,
        statement="metrics/load_log_sizes",
    ),
    Figure(
        "metrics/count_cron_ticks",
        "fast",
        {
            "later": "pancake_later_cron_ticks",
            "overdue": "pancake_overdue_cron_ticks",
            "lost": "pancake_lost_cron_ticks",
        },
        ("name",),
        params=_NAMES,
        of_engine=True,
    ),
    Figure(
        "metrics/list_cron_runs",
        "fast",
        {
            "succeeded_at": "pancake_cron_last_success_timestamp_seconds",
            "started_at": "pancake_cron_last_start_timestamp_seconds",
            "delay_seconds": "pancake_cron_last_delay_seconds",
        },
        ("name",),
        params=_NAMES,
    ),
)
