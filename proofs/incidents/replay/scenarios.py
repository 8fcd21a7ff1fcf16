"""The recorded times: a clean week, and each of the twelve incidents after three clean days."""

from datetime import UTC, datetime, timedelta
from typing import Any

from proofs.incidents.catalogue import INCIDENTS
from proofs.incidents.replay.conditions import CRONS, Conditions, Timeline, during
from proofs.incidents.replay.recording import WEEK_MINUTES, Scenario

FIRST_MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
BEFORE = 3 * 1440 + 120
"""Minutes: the longest window of a rule, and until 09:00 in Vietnam."""
RECORDED_BEFORE, RECORDED_AFTER, LONGEST_RECORDED = 90, 60, 120
"""Minutes that are recorded in full: before and after an incident, and of the incident its last ones."""
LEADS_PER_HOUR, FEW_LEADS_PER_HOUR = 300.0, 5.0
USUAL_LEADS_PER_HOUR = {"webhook_silent": FEW_LEADS_PER_HOUR}
"""Of the incidents that do not have LEADS_PER_HOUR: with as many the webhook soon counts as suspended."""

_CHANGES: dict[str, tuple[int, dict[str, Any]]] = {
    "metadata_wiped": (
        45,
        {
            "event_trigger_exists": False,
            "allow_list_has_ours": False,
            "engine_takes_deliveries": False,
            "scheduled_crons": frozenset(),
        },
    ),
    "allow_list_on": (45, {"allow_list_has_ours": False, "engine_takes_deliveries": False}),
    "handlers_down": (25, {"handlers_up": (False, False)}),
    "database_slow": (45, {"slow_share": 1.0, "leads_per_minute_processed": 2}),
    "pancake_rest_down": (60, {"pancake_answers": False}),
    "webhook_silent": (90, {"webhook_delivers": False}),
    "dead_letters": (120, {"failing_share": 0.5}),
    "stuck_lock": (15, {"locked_events": 3}),
    "cron_removed": (30, {"scheduled_crons": frozenset(CRONS) - {"poll_records"}}),
    "reconciliation_misses": (30, {"found_missing": 7}),
    "kill_switch_left_on": (25 * 60, {"kill_switch": True}),
    "p99_regression": (30, {"slow_share": 0.1}),
}
"""For each incident how long it lasts, in minutes, and what it changes."""


def incident(name: str, leads_per_hour: float | None = None) -> Scenario:
    """Return the recorded time of an incident, by default with its usual traffic.

    Those of two incidents do not overlap.
    """
    minutes, changes = _CHANGES[name]
    return Scenario(
        name=name,
        start=FIRST_MONDAY + timedelta(weeks=1 + list(INCIDENTS).index(name)),
        minutes=BEFORE + minutes + RECORDED_AFTER,
        leads_per_hour=leads_per_hour or USUAL_LEADS_PER_HOUR.get(name, LEADS_PER_HOUR),
        timeline=during(BEFORE, BEFORE + minutes, **changes),
        first_minute=BEFORE + max(0, minutes - LONGEST_RECORDED) - RECORDED_BEFORE,
        seed=list(INCIDENTS).index(name),
    )


def clean(leads_per_hour: float, minutes: int = WEEK_MINUTES, seed: int = 1) -> Scenario:
    """Return a time with what is normal: a deployment, a short fault of Pancake, leads found late."""
    return Scenario(
        name=f"clean at {leads_per_hour:g} leads an hour",
        start=FIRST_MONDAY,
        minutes=minutes,
        leads_per_hour=leads_per_hour,
        timeline=_normal_days(),
        seed=seed,
        restarts=(600, 602),
    )


def _normal_days() -> Timeline:
    hiccups: dict[range, Conditions] = {
        range(700, 706): Conditions(pancake_answers=False),
        range(2 * 1440 + 300, 2 * 1440 + 330): Conditions(kill_switch=True),
    }
    late = Conditions(found_missing=2)

    def timeline(minute: int) -> Conditions:
        for span, changed in hiccups.items():
            if minute in span:
                return changed
        return late if 1440 <= minute < 2 * 1440 else Conditions()

    return timeline
