"""The handlers with an accelerated clock, for `scripts/chaos four_layers`; optionally without one guard.

Each mutation removes a guard in this process only; the scenario must then fail.
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
from leads.services.cron_runs import CronRuns
from leads.services.cron_work import ANSWER_WITHIN_SECONDS, CronRun, CronWork
from leads.services.runtime import Runtime
from sandbox.accelerated_clock import AcceleratedClock

CLOCK_FILE, MUTATION = "CLOCK_FILE", "MUTATION"


class HandlerClock(Clock):
    """The time of day is accelerated; durations are real."""

    def __init__(self, accelerated: AcceleratedClock) -> None:
        self._accelerated = accelerated

    def now(self) -> datetime:
        return self._accelerated.now()


def create_app() -> Starlette:
    """Create the application, configured by the environment and by CLOCK_FILE and MUTATION."""
    configure_logs("WARNING")
    if mutation := os.environ.get(MUTATION):
        MUTATIONS[mutation]()
    clock = HandlerClock(AcceleratedClock(Path(os.environ[CLOCK_FILE])))
    return app.create_app(Runtime.assemble(read_settings(), clock=clock))


def _without_settle() -> None:
    """Let poll windows end now, without the settle time."""
    setattr(poll, "next_window", partial(next_window, settle=timedelta(0)))  # noqa: B010


def _without_identity() -> None:
    """Treat no listed lead as covered, as if hashes of different bodies were compared."""
    setattr(coverage, "covers", lambda event, lead: False)  # noqa: B010


def _without_cron_runs() -> None:
    """Run the cron for every delivery of a tick, even if an earlier one did the work."""

    async def run(self: CronRuns, call: CronCall, work: CronWork) -> dict[str, Any]:
        now = self._clock.now()
        report = await work(
            CronRun(0, call.scheduled_time, now, dict(call.payload), lambda: ANSWER_WITHIN_SECONDS)
        )
        return {"result": "failed" if report.problem else "succeeded"}

    setattr(CronRuns, "run", run)  # noqa: B010


MUTATIONS = {"settle": _without_settle, "identity": _without_identity, "cron_runs": _without_cron_runs}
