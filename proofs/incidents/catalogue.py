"""The twelve incidents, and the alerts that are sent in each: the same in the replay and live."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Incident:
    """What happens, and which alerts are sent. Others fire, but are silenced: they follow from these."""

    title: str
    sent: frozenset[str]
    after: frozenset[str]
    """Of these, the ones that come when the incident is over: they count what was late."""


def _incident(title: str, *sent: str, after: tuple[str, ...] = ()) -> Incident:
    late = frozenset(f"Pancake{name}" for name in after)
    return Incident(title, frozenset(f"Pancake{name}" for name in sent) | late, late)


INCIDENTS = {
    "metadata_wiped": _incident(
        "metadata wiped", "EventTriggerMissing", "AllowListStopsUs", after=("ProcessSlowLastHour",)
    ),
    "allow_list_on": _incident("allow list switched on", "AllowListStopsUs"),
    "handlers_down": _incident("handlers down", "HandlersDown", after=("StoreSlowLastHour",)),
    "database_slow": _incident(
        "database slow",
        "WebhookLatencyP99High",
        "EventProcessLatencyHigh",
        "LeadWaits",
        "LeadsFailed",
        "SuccessRateLow",
        after=(
            "StoreSlowLastHour",
            "ProcessSlowLastHour",
        ),
    ),
    "pancake_rest_down": _incident("Pancake REST down", "CronMissed", "CircuitBreakerOpenLong"),
    "webhook_silent": _incident("webhook silent", "WebhookSilent"),
    "dead_letters": _incident(
        "dead letters",
        "ErrorsLogged",
        "BurnFast",
        "SuccessRateLow",
        "DlqCountHigh",
        after=("BurnSlow", "BurnCreeping"),
    ),
    "stuck_lock": _incident("stuck lock", "EngineEventsLocked"),
    "cron_removed": _incident("cron removed", "CronTicksGone"),
    "reconciliation_misses": _incident("reconciliation misses", "ReconciliationMiss"),
    "kill_switch_left_on": _incident("kill switch left on", "SwitchLeftOn"),
    "p99_regression": _incident("p99 regression", "WebhookLatencyP99High", after=("StoreSlowLastHour",)),
}
