"""Take the steps of a cron, each whatever the others do."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from leads.adapters.logs import LOGGER, summarize
from leads.domain.errors import IntegrationError
from leads.runtime import Runtime
from leads.services.cron_work import CronReport, CronRun

Report: TypeAlias = dict[str, object]
"""A step's part of the report of the run."""
Step: TypeAlias = Callable[[Runtime, CronRun], Awaitable[Report]]


class Postponed(Exception):
    """The step needs more time than is left: it is taken first when the tick is delivered again."""


async def take_steps(runtime: Runtime, run: CronRun, steps: Sequence[Step]) -> CronReport:
    """Take every step and put their reports together; steps that failed are named, and make the run fail.

    A step that an earlier delivery of the tick took is not taken again. If the time is up, the steps that are
    left are taken by the next delivery. A step for which the whole time of a delivery is too short fails.
    """
    is_first = True
    for step in steps:
        name = step.__name__
        if name in run.reports:
            continue
        if not is_first and run.seconds_left() <= 0:
            return _report(run, unfinished=True)
        try:
            async with asyncio.timeout(run.seconds_left() + run.overrun_seconds):
                run.reports[name] = await step(runtime, run)
        except Exception as error:  # noqa: BLE001 - logged and reported; the later steps must be taken
            if isinstance(error, TimeoutError | Postponed) and not is_first:
                return _report(run, unfinished=True)
            level = logging.WARNING if isinstance(error, IntegrationError) else logging.ERROR
            LOGGER.log(level, "step failed", extra={"fields": {"step": name}}, exc_info=error)
            run.reports[name] = {"error": f"{name}: {summarize(error)}"}
        is_first = False
    return _report(run)


def _report(run: CronRun, *, unfinished: bool = False) -> CronReport:
    body: Report = {}
    problems: dict[str, str] = {}
    for name, report in run.reports.items():
        if "error" in report:
            problems[name] = report["error"]
        else:
            body |= report
    if problems:
        body["failed_steps"] = list(problems)
    return CronReport(body, problem="; ".join(problems.values()) or None, unfinished=unfinished)
