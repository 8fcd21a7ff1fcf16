"""The handlers under a time-lapse clock, for `scripts/chaos four_layers`; on request without one guard.

Each mutation takes a guard away in this process only; the scenario has to notice.
"""

import os
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

import app
from leads.adapters.clock import Clock
from leads.adapters.hasura_calls import CronCall
from leads.adapters.logs import configure_logs
from leads.adapters.settings import read_settings
from leads.domain import coverage, poll
from leads.domain.window import next_window
from leads.services.cron_runs import CronRun, CronRuns, CronWork
from leads.services.runtime import Runtime
from sandbox.accelerated_clock import TimeLapse

LAPSE, MUTATION = "TIME_LAPSE", "MUTATION"


class LapsedClock(Clock):
    """The time of day runs as the time lapse says; durations stay real."""

    def __init__(self, lapse: TimeLapse) -> None:
        self._lapse = lapse

    def now(self) -> datetime:
        return self._lapse.now()


def create_app() -> Starlette:
    """The application, configured by the environment and by TIME_LAPSE and MUTATION."""
    configure_logs("WARNING")
    if mutation := os.environ.get(MUTATION):
        MUTATIONS[mutation]()
    clock = LapsedClock(TimeLapse(Path(os.environ[LAPSE])))
    return app.create_app(Runtime.assemble(read_settings(), clock=clock))


def _without_settle() -> None:
    """Windows that reach up to the present."""
    setattr(poll, "next_window", partial(next_window, settle=timedelta(0)))  # noqa: B010


def _without_identity() -> None:
    """Nothing that we have covers what is listed, as if hashes of different bodies were compared."""
    setattr(coverage, "covers", lambda event, lead: False)  # noqa: B010


def _without_register() -> None:
    """Every delivery of a tick does the work, at whatever time and however often."""

    async def run(self: CronRuns, call: CronCall, work: CronWork, *, budget_seconds: float) -> dict[str, Any]:
        now = self._clock.now()
        report = await work(CronRun(0, call.scheduled_time, now, dict(call.payload), lambda: budget_seconds))
        return {"result": "failed" if report.problem else "succeeded"}

    setattr(CronRuns, "run", run)  # noqa: B010


MUTATIONS = {"settle": _without_settle, "identity": _without_identity, "register": _without_register}
