"""The Prometheus series that are read from the database, by the statement that gives them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

Sample = tuple[str, tuple[str, ...], float]
"""Name of a family, values of its labels in their order, value."""


@dataclass(frozen=True, slots=True)
class Family:
    """A gauge: its name, what it is, and the names of its labels."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


_NAME, _STATUS, _CONNECTION = ("name",), ("status",), ("connection",)
FAMILIES = (
    Family("pancake_stored_events", "Events that are not processed, by status", _STATUS),
    Family(
        "pancake_stored_event_oldest_timestamp_seconds",
        "Creation or replay of the oldest of them; 0 without one",
        _STATUS,
    ),
    Family("pancake_recent_events", "Events of the last hour", ("status", "origin")),
    Family(
        "pancake_counted_rows",
        "Rows of the last hour that a counter has counted, at least and at most",
        ("counter", "bound"),
    ),
    Family(
        "pancake_recent_source_events",
        "Events of the last hour by active source; `other` are the rest",
        ("connection", "source"),
    ),
    Family(
        "pancake_recent_lead_seconds",
        "Time to store or to process the leads of the last hour, or the last 20",
        ("stage", "leads", "quantile"),
    ),
    Family("pancake_recent_deliveries", "Deliveries of the webhook in the last hour", _CONNECTION),
    Family(
        "pancake_usual_deliveries",
        "Median of the deliveries in the same hour of the four weeks before",
        _CONNECTION,
    ),
    Family("pancake_unsent_notifications", "Rows with notifications that wait to be sent", ("source",)),
    Family(
        "pancake_unsent_notification_oldest_timestamp_seconds",
        "Since when the oldest of them waits; 0 without one",
        ("source",),
    ),
    Family("pancake_unassigned_tickets", "Open tickets of the integration without an owner"),
    Family(
        "pancake_unassigned_ticket_oldest_timestamp_seconds", "Creation of the oldest of them; 0 without one"
    ),
    Family("pancake_connection_status", "1 for the status of a connection", ("connection", "status")),
    Family("pancake_connection_status_timestamp_seconds", "Last change of its status", _CONNECTION),
    Family("pancake_connection_last_poll_timestamp_seconds", "Its last poll; 0 before one", _CONNECTION),
    Family("pancake_switch_on", "1 while a switch is on", ("switch",)),
    Family(
        "pancake_switch_changed_timestamp_seconds", "Last change of any setting; 0 if unknown", ("switch",)
    ),
    Family("pancake_engine_events", "Events of our trigger that Hasura has not delivered", ("state",)),
    Family(
        "pancake_engine_event_oldest_timestamp_seconds",
        "Creation of the oldest of them; 0 without one",
        ("state",),
    ),
    Family("pancake_engine_log_rows", "Rows of Hasura's log tables, as the server estimates", ("log",)),
    Family("pancake_engine_log_dead_rows", "Dead rows of Hasura's log tables, the same way", ("log",)),
    Family("pancake_later_cron_ticks", "Ticks that Hasura has scheduled for later", _NAME),
    Family("pancake_overdue_cron_ticks", "Ticks that are due for more than a minute", _NAME),
    Family("pancake_lost_cron_ticks", "Ticks of the last day that Hasura gave up", _NAME),
    Family(
        "pancake_cron_last_success_timestamp_seconds",
        "End of the last run that succeeded, or creation of the oldest connection; 0 without any",
        _NAME,
    ),
    Family("pancake_cron_last_start_timestamp_seconds", "Start of the last run; 0 without one", _NAME),
    Family("pancake_cron_last_delay_seconds", "From the last tick to the start of its run", _NAME),
    Family("pancake_kpi_latency_seconds", "Latency of the window", ("window", "quantile")),
    Family("pancake_kpi_success_ratio", "Share of processed deliveries", ("window",)),
    Family("pancake_kpi_deliveries", "Deliveries of the window by result", ("window", "result")),
    Family("pancake_kpi_auto_assign_ratio", "Share of tickets that kept the chosen owner", ("window",)),
    Family("pancake_kpi_intervention_ratio", "Share of tickets whose owner was changed", ("window",)),
    Family("pancake_kpi_tickets", "Tickets that were created in the window", ("window",)),
    Family("pancake_kpi_response_seconds", "Time to the first response", ("window", "quantile")),
    Family("pancake_kpi_found_missing", "Records that reconciliation found missing", ("window",)),
    Family("pancake_kpi_left_missing", "Records that are missing after it", ("window",)),
)


class SqlSeries(Collector):
    """The samples of every statement, by its name. A family without samples is named, and has none."""

    families = FAMILIES

    def __init__(self) -> None:
        self._samples: dict[str, Sequence[Sample]] = {}

    def put(self, query: str, samples: Iterable[Sample]) -> None:
        """Replace the samples of a statement."""
        self._samples[query] = tuple(samples)

    def withdraw(self, query: str) -> None:
        """Remove the samples of a statement: no figure is better than an old one."""
        self._samples.pop(query, None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield every family, for the registry."""
        gauges = {
            family.name: GaugeMetricFamily(family.name, family.help, labels=family.labels)
            for family in FAMILIES
        }
        for samples in self._samples.values():
            for name, labels, value in samples:
                gauges[name].add_metric(labels, value)
        yield from gauges.values()
