"""What a cron is given for a run and what it returns, and how its work stops in time.

leads/services/cron_runs.py makes the runs.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast
from zlib import crc32

from leads.adapters.database import Statement
from leads.adapters.logs import LOGGER, summarize
from leads.adapters.time_limits import limited
from leads.domain.errors import (
    Contended,
    DatabaseUnavailable,
    IntegrationError,
    PancakeRefused,
    PancakeUnavailable,
    Retryable,
    Unavailable,
    code_of,
)
from leads.domain.reports import ConnectionReport
from leads.services.connections import Connection

ANSWER_WITHIN_SECONDS = 3.0
"""The longest call of a cron, unless an answer of Pancake or Hasura takes longer. Hasura delivers all crons
in one loop, which waits for the slowest and then sleeps 10 s (Eventing/ScheduledTrigger).
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
OUT_OF_TIME = "out_of_time"
"""How work ended that had no time left: the `ending` of its report."""
SECONDS_LEFT_TO_SEND = 0.3
"""To claim what is sent: a call that begins later may be cut off, which may disturb a person twice."""
DRY_RUN = "dry_run"
"""The key in a tick's payload that asks for a dry run, and the result of one."""

Saved = TypeVar("Saved")
Report = TypeVar("Report", bound=Mapping[str, object])
ConnectionResult = TypeVar("ConnectionResult", bound=ConnectionReport)


@dataclass(frozen=True, slots=True)
class AdminNotice:
    """What the active admins, or managers, are notified of. Diva's service sends the same `key` once.

    `reason` is a key of leads/domain/notice_texts.toml; `facts` are further values of that text.
    """

    key: str
    reason: str
    detail: str
    facts: Mapping[str, str] = field(default_factory=dict)
    is_for_managers: bool = False


@dataclass(frozen=True, slots=True)
class CronReport:
    """The result of a run. `statements` are run in the transaction that stores `body`, the stored report.

    `window` is the period of time that was covered. `problem` makes the run fail. An `unfinished` run is
    delivered again and finds its reports and its progress.
    """

    body: dict[str, object]
    window: tuple[datetime | None, datetime | None] = (None, None)
    statements: tuple[Statement, ...] = ()
    notices: tuple[AdminNotice, ...] = ()
    problem: str | None = None
    unfinished: bool = False

    @property
    def outcome(self) -> str:
        """Return the stored outcome of the run."""
        return "running" if self.unfinished else "failed" if self.problem else "succeeded"


@dataclass(slots=True)
class CronRun:
    """One execution of a cron. `now` does not change during the run.

    `seconds_left` is 0 or less when nothing more may begin. `reports` has what parts of the work reported, by
    name; a later delivery does not repeat them. `progress` has what an unfinished part needs to continue.
    Both are JSON; they are stored when a delivery of the tick ends, also when it is cut off, and given to the
    next one until one succeeds.
    """

    id: int
    scheduled_time: datetime
    now: datetime
    payload: Mapping[str, object]
    seconds_left: Callable[[], float]
    overrun_seconds: float = 0.0
    is_dry_run: bool = False
    reports: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, object] = field(default_factory=dict)

    def has_time_to_send(self) -> bool:
        return self.seconds_left() >= SECONDS_LEFT_TO_SEND

    def saved(self, key: str, kind: type[Saved]) -> Saved | None:
        """Return what an earlier delivery of the tick saved in `progress`; None if it saved nothing.

        `kind` is for mypy only. The same cron wrote the value: JSON from the database carries no type.
        """
        return cast(Saved | None, self.progress.get(key))

    @property
    def state(self) -> dict[str, object]:
        """Return reports and progress as one object, as they are stored."""
        return {**self.progress, "reports": self.reports}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a stored `state`."""
        self.progress = {key: value for key, value in state.items() if key != "reports"}
        self.reports = state.get("reports", {})


CronWork = Callable[[CronRun], Awaitable[CronReport]]


class RunUnfinished(Unavailable):
    """The run used up its time; it continues when this tick is delivered again."""

    code = "run_unfinished"
    retry_after_seconds = 1


class RunUnderWay(Unavailable):
    """This tick is being worked on by another delivery."""

    code = "run_under_way"
    retry_after_seconds = 5


class RunStuck(Retryable):
    """One step of the run takes longer than a call of a cron may."""

    code = "run_stuck"


class RunFailed(Retryable):
    """The run did not complete all of its work; its report says what is missing."""

    code = "run_failed"


async def run_until_deadline(deadline: float, run: CronRun, work: CronWork) -> CronReport:
    """Do the work until the deadline, a time of the event loop.

    At each `await` of the work, what the run keeps for the next delivery has to be what is done.
    Returns an unfinished report if it was cut off. Raises RunStuck if it had achieved nothing.
    """
    before = _digest(run.state)
    try:
        async with limited(deadline) as cut_off:
            return await work(run)
    except TimeoutError as error:
        if not cut_off.expired():
            raise
        if _digest(run.state) == before:
            raise RunStuck from error
    return CronReport({}, unfinished=True)


def _digest(state: dict[str, object]) -> int:
    """Return a number that changes with the state, and not with the order of its keys."""
    return crc32(json.dumps(state, default=str, sort_keys=True).encode())


StepReport: TypeAlias = dict[str, object]
"""A step's part of the report of the run."""
Step: TypeAlias = Callable[[], Awaitable[StepReport]]


class Postponed(Exception):
    """The step needs more time than is left; the next delivery of the tick begins with it."""


async def run_steps(run: CronRun, steps: Mapping[str, Step]) -> CronReport:
    """Take every step and put their reports together; steps that failed are named, and make the run fail.

    A step for which the whole time of a delivery is too short fails. One that was late, or failed in the
    previous run, comes after the others, which would wait for it in vain.
    """
    late = run.saved("late", list[str]) or []
    ordered = sorted(steps.items(), key=lambda step: step[0] in late)
    _, is_complete = await run_parts(
        run, {name: partial(_in_time, run, name, step) for name, step in ordered}, _fail_step
    )
    body: StepReport = {}
    errors: dict[str, str] = {}
    for name, report in run.reports.items():
        if "error" in report:
            errors[name] = report["error"]
        else:
            body |= report
    if errors:
        body["failed_steps"] = list(errors)
    return CronReport(body, problem="; ".join(errors.values()) or None, unfinished=not is_complete)


async def _in_time(run: CronRun, name: str, step: Step) -> StepReport:
    seconds = run.seconds_left() + run.overrun_seconds
    try:
        async with limited(asyncio.get_running_loop().time() + seconds):
            return await step()
    except TimeoutError:
        run.progress["late"] = [*(run.saved("late", list[str]) or []), name]
        raise


def _fail_step(name: str, error: Exception) -> StepReport:
    level = logging.WARNING if isinstance(error, IntegrationError) else logging.ERROR
    LOGGER.log(level, "step failed", extra={"fields": {"step": name}}, exc_info=error)
    return {"error": f"{name}: {summarize(error)}"}


async def for_each(
    run: CronRun,
    connections: Sequence[Connection],
    work: Callable[[Connection], Awaitable[ConnectionResult]],
    *,
    part: str = "",
) -> tuple[list[ConnectionResult], bool]:
    """Return what `work` reports of each connection, or the error that it raised; and whether all are done.

    The rest as run_parts; `part` tells the reports of several calls apart. Raises DatabaseUnavailable and
    Contended, which would fail for all connections.
    """
    parts = {f"{part}{each.id}": partial(_report_of, each, work) for each in connections}
    # Every type of report has the keys of a failure, and needs no other.
    on_error = cast(Callable[[str, Exception], ConnectionResult], partial(_fail_connection, part))
    return await run_parts(run, parts, on_error)


async def _report_of(
    connection: Connection, work: Callable[[Connection], Awaitable[ConnectionResult]]
) -> ConnectionResult:
    report = await work(connection)
    report["connection_id"] = connection.id
    return report


def _fail_connection(part: str, name: str, error: Exception) -> ConnectionReport:
    """Report and log an error; of foreign exceptions not the text, which may quote personal data."""
    if isinstance(error, DatabaseUnavailable | Contended):
        raise error
    failure: ConnectionReport = {
        "connection_id": name.removeprefix(part),
        "error": code_of(error),
        "detail": summarize(error),
    }
    is_of_pancake = isinstance(error, PancakeUnavailable | PancakeRefused)
    level, trace = (logging.WARNING, None) if is_of_pancake else (logging.ERROR, error)
    LOGGER.log(level, "connection failed", extra={"fields": failure}, exc_info=trace)
    return failure


async def run_parts(
    run: CronRun,
    parts: Mapping[str, Callable[[], Awaitable[Report]]],
    on_error: Callable[[str, Exception], Report],
) -> tuple[list[Report], bool]:
    """Do those parts of the work that no earlier delivery of the tick has done.

    Returns the reports of all, in their order, and whether all are done. With no time left the list ends
    early, or with a report whose `ending` is OUT_OF_TIME: the next delivery does the rest. A part that fails
    does not stop the others: `on_error` gets its name and returns its report, or raises the error again.
    """
    reports: list[Report] = []
    is_first = True
    for name, part in parts.items():
        if name not in run.reports:
            if run.seconds_left() <= 0:
                return reports, False
            try:
                report = await part()
            except Exception as error:  # noqa: BLE001 - logged and reported; the others must be done
                if isinstance(error, TimeoutError | Postponed) and not is_first:
                    return reports, False
                report = on_error(name, error)
            if report.get("ending") == OUT_OF_TIME:
                return [*reports, report], False
            run.reports[name] = report
            is_first = False
        reports.append(run.reports[name])
    return reports, True


def problems(reports: Sequence[ConnectionReport]) -> str | None:
    """Return all errors in one line; None without any."""
    lines = [f"{report['connection_id']}: {report['detail']}" for report in reports if "error" in report]
    return "; ".join(lines) or None
