"""What a cron is given for a run and what it returns; leads/services/cron_runs.py runs it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar, cast

from leads.adapters.database import Statement

Saved = TypeVar("Saved")


@dataclass(frozen=True, slots=True)
class AdminNotice:
    """What the active admins are notified of. Diva's notification service sends the same `key` once."""

    key: str
    reason: str
    detail: str


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

    `state` is a JSON object; it is stored when the run ends, and given to the next delivery of the same tick
    until one succeeds.
    """

    id: int
    scheduled_time: datetime
    now: datetime
    payload: Mapping[str, object]
    seconds_left: Callable[[], float]
    state: dict[str, object] = field(default_factory=dict)

    def saved(self, key: str, kind: type[Saved]) -> Saved | None:
        """Return what an earlier delivery of the tick saved in `state`; None if it saved nothing."""
        # The same cron wrote the value, as `kind`: JSON from the database carries no type.
        return cast(Saved | None, self.state.get(key))


CronWork = Callable[[CronRun], Awaitable[CronReport]]
