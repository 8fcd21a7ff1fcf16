"""What a cron is given for a run and what it returns; leads/services/cron_runs.py runs it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

from leads.adapters.database import Statement

ANSWER_WITHIN_SECONDS = 8.0
"""The longest call of a cron. Hasura delivers the crons of all applications in one loop, which waits for the
slowest of them and then sleeps 10 s: longer calls make every other cron late (Eventing/ScheduledTrigger).
"""
STOP_AT = 0.6
"""The share of that time after which a run begins nothing more."""
CUT_OFF_AT = 0.8
"""The share after which it is cut off. The rest is for storing what was done."""
OVERRUN = 0.175
"""The share that one step may take beyond STOP_AT: it is stopped before the whole run is cut off."""
CRON_PERIOD_SECONDS = {
    "sync_sources": 900,
    "check_connection": 300,
    "retry_failed": 60,
    "check_sla": 300,
    "purge_events": 86_400,
    "poll_records": 300,
    "reconcile_daily": 86_400,
}
"""The time between two ticks of each cron, as in hasura/metadata/cron_triggers.yaml."""
PAUSED = "paused"
"""How work ended that had no time left."""
SECONDS_LEFT_TO_SEND = 3.7
"""A call of sendNotifications takes up to 5 s (SEND_TIMEOUT_SECONDS). A run is cut off 1.6 s after
`seconds_left` is 0, and a call that is cut off counts as one without an answer, which may disturb a person
twice.
"""
DRY_RUN = "dry_run"
"""The key in a tick's payload that asks for a dry run, and the result of one."""

Saved = TypeVar("Saved")


@dataclass(frozen=True, slots=True)
class AdminNotice:
    """What the active admins are notified of. Diva's notification service sends the same `key` once.

    `reason` is a key of TEXTS in leads/domain/notifications.py; `facts` are further values of that text.
    """

    key: str
    reason: str
    detail: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CronReport:
    """The result of a run. `statements` are run in the transaction that stores `body`, the stored report.

    `window` is the period of time that was covered. `problem` makes the run fail. An `unfinished` run is
    delivered again and finds its `state`.
    """

    body: dict[str, object]
    window: tuple[datetime | None, datetime | None] = (None, None)
    statements: tuple[Statement, ...] = ()
    notices: tuple[AdminNotice, ...] = ()
    problem: str | None = None
    unfinished: bool = False


@dataclass(slots=True)
class CronRun:
    """One execution of a cron. `now` does not change during the run.

    `seconds_left` is 0 or less when nothing more may begin. `state` is a JSON object; it is stored when a
    delivery of the tick ends, also when it is cut off, and given to the next one until one succeeds.
    """

    id: int
    scheduled_time: datetime
    now: datetime
    payload: Mapping[str, object]
    seconds_left: Callable[[], float]
    overrun_seconds: float = 0.0
    is_dry_run: bool = False
    state: dict[str, object] = field(default_factory=dict)

    def has_time_to_send(self) -> bool:
        return self.seconds_left() >= SECONDS_LEFT_TO_SEND

    def saved(self, key: str, kind: type[Saved]) -> Saved | None:
        """Return what an earlier delivery of the tick saved in `state`; None if it saved nothing."""
        # The same cron wrote the value, as `kind`: JSON from the database carries no type.
        return cast(Saved | None, self.state.get(key))

    @property
    def reports(self) -> dict[str, Any]:
        """What parts of the work have reported, by name; a later delivery does not repeat them."""
        return cast(dict[str, Any], self.state.setdefault("reports", {}))

    def forget_failures(self) -> None:
        """Forget the reports with an `error`, so that these parts are tried again."""
        if "reports" in self.state:
            self.state["reports"] = {k: v for k, v in self.reports.items() if "error" not in v}


CronWork = Callable[[CronRun], Awaitable[CronReport]]
