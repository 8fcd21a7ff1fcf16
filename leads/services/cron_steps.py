"""Take the steps of a cron, each whatever the others do."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from leads.adapters.logs import LOGGER, summarize
from leads.domain.errors import IntegrationError
from leads.services.cron_work import CronReport, CronRun
from leads.services.runtime import Runtime

Report: TypeAlias = dict[str, object]
"""A step's part of the report of the run."""
Step: TypeAlias = Callable[[Runtime, CronRun], Awaitable[Report]]


async def take_steps(runtime: Runtime, run: CronRun, steps: Sequence[Step]) -> CronReport:
    """Take every step and put their reports together; steps that failed are named, and make the run fail."""
    body: Report = {}
    problems: dict[str, str] = {}
    for step in steps:
        name = step.__name__
        try:
            body |= await step(runtime, run)
        except Exception as error:  # noqa: BLE001 - logged and reported; the later steps must be taken
            level = logging.WARNING if isinstance(error, IntegrationError) else logging.ERROR
            LOGGER.log(level, "step failed", extra={"fields": {"step": name}}, exc_info=error)
            problems[name] = f"{name}: {summarize(error)}"
    if problems:
        body["failed_steps"] = list(problems)
    return CronReport(body, problem="; ".join(problems.values()) or None)
