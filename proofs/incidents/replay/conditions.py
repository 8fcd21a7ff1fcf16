"""What works and what does not in each minute of a replayed time. An incident is a change of these."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from leads.services.cron_work import CRON_PERIOD_SECONDS

CRONS = tuple(CRON_PERIOD_SECONDS)
CRONS_WITH_PANCAKE = frozenset({"poll_records", "reconcile_daily", "sync_sources"})
"""The crons that fail when Pancake's API does; check_connection stores a status instead."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """The state of the parts in one minute. The defaults are a day on which everything works."""

    handlers_up: tuple[bool, ...] = (True, True)
    engine_takes_deliveries: bool = True
    event_trigger_exists: bool = True
    allow_list_has_ours: bool = True
    scheduled_crons: frozenset[str] = frozenset(CRONS)
    pancake_answers: bool = True
    webhook_delivers: bool = True
    slow_share: float = 0.0
    """Of the deliveries: those that take `slow_store_seconds` to be stored."""
    slow_store_seconds: float = 3.0
    leads_per_minute_processed: float = float("inf")
    """What the handlers can process in a minute."""
    failing_share: float = 0.0
    """Of the leads: those that every attempt fails on, until they are dead letters."""
    once_failing_share: float = 0.0002
    """Of the leads: those that one attempt fails on."""
    locked_events: int = 0
    found_missing: int = 0
    """By the reconciliations of the last day."""
    kill_switch: bool = False

    @property
    def is_served(self) -> bool:
        """Whether a process of the handlers answers."""
        return any(self.handlers_up)

    @property
    def may_notify(self) -> bool:
        """Whether Hasura accepts the calls that send notifications."""
        return self.allow_list_has_ours


Timeline = Callable[[int], Conditions]
"""The conditions of each minute."""


def during(first: int, last: int, **changes: Any) -> Timeline:
    """Return a timeline with changes from minute `first` until before minute `last`."""
    normal, changed = Conditions(), replace(Conditions(), **changes)
    return lambda minute: changed if first <= minute < last else normal
