"""`leads reconcile`: print the ledger of one ICT day, computed now or stored."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from cron.reconcile_daily import reconcile_daily, reconcile_day
from leads.adapters.clock import Clock
from leads.adapters.hasura_calls import CronCall
from leads.adapters.settings import Settings, read_settings
from leads.domain.body import ICT
from leads.domain.day_ledger import DayReport, is_over
from leads.domain.errors import PancakeUnavailable, Retryable
from leads.runtime import Runtime, run_cron
from leads.services.connections import load_connections
from leads.services.cron_work import CronRun, for_each
from ops.clients.db_session import QUERIES, open_session
from ops.failures import CommandFailed, ExitCode, WrongUsage
from ops.output import AsJson, ForeignTextConsole, print_result, show_activity

MAX_SECONDS = 6 * 3600.0
LISTS = (
    "found_missing", "left_missing", "rejected", "duplicates", "unexpected", "unlisted", "sample_missing",
)  # fmt: skip
FIGURES = (
    "expected", "found", "processed", "held", "pending", "inserted", "superseded", "sampled", "seconds",
)  # fmt: skip
MAX_SHOWN_IDS = 10


async def reconcile_and_store(settings: Settings, day: date) -> list[DayReport]:
    """Run the cron for this day; return the reports that it stored. Raises what the cron raises."""
    async with _open_runtime(settings) as runtime:
        now = runtime.clock.now()
        _require_no_unfinished(settings, now)
        runtime.cron_runs.answer_within_seconds = MAX_SECONDS
        call = CronCall("leads reconcile", "pancake_reconcile_daily", now, {"day": day.isoformat()})
        try:
            answer = await run_cron(reconcile_daily)(runtime, call)
        except Retryable:
            # The run failed for some connections; what it stored of the day says why.
            if reports := load_reports(settings, day):
                return reports
            raise
        if answer["result"] != "succeeded":
            reason = answer.get("reason", answer["result"])
            raise CommandFailed(f"{day} was not reconciled: {reason}. Run this again later.")
        return load_reports(settings, day)


def _require_no_unfinished(settings: Settings, now: datetime) -> None:
    """Raise CommandFailed while a run waits for its next delivery: this one would continue in its place."""
    with open_session(settings.database_url, "reconcile") as db:
        run = db.execute(QUERIES["reconcile/load_unfinished"], {"now": now}).fetchone()
    if run:
        due = run["scheduled_time"].astimezone(UTC)
        raise CommandFailed(
            f"The run of {due:%Y-%m-%d %H:%M} UTC is not finished: it waits for its next delivery.\n"
            "Run this again when it has ended, or in an hour."
        )


async def try_out(settings: Settings, day: date) -> list[DayReport]:
    async with _open_runtime(settings) as runtime:
        now = runtime.clock.now()
        run = CronRun(0, now, now, {}, lambda: MAX_SECONDS, is_dry_run=True)
        work = partial(reconcile_day, runtime, run, day)
        reports, _ = await for_each(run, await load_connections(runtime.db, settings.key_ring), work)
        return reports


def load_reports(settings: Settings, day: date) -> list[DayReport]:
    """Return the newest stored report of the day, of each connection."""
    with open_session(settings.database_url, "reconcile") as db:
        rows = db.execute(QUERIES["reconcile/load_reports"], {"day": day.isoformat()}).fetchall()
    return [row["report"] for row in rows]


@asynccontextmanager
async def _open_runtime(settings: Settings) -> AsyncIterator[Runtime]:
    """Raise Misconfigured if a stored API key cannot be opened or must not be sent to its host."""
    with open_session(settings.database_url, "reconcile"):
        pass  # a database that cannot be reached is reported at once, with its reason
    runtime = Runtime.assemble(settings)
    async with runtime.running():
        for connection in await load_connections(runtime.db, settings.key_ring):
            connection.access.require_key(settings.pancake_api_hosts)
        yield runtime


def print_reports(reports: Sequence[Mapping[str, Any]], console: Console, *, dry_run: bool) -> None:
    if not reports:
        console.print(
            "No report of that day is stored, and no connection existed then. "
            "Check the day; `leads connection status` lists the connections."
        )
    for report in reports:
        if "expected" not in report:
            console.print(f"{report['connection_id']}: {report['detail']}", style="red", highlight=False)
            continue
        title = f"{report['day']} ({ICT}), connection {report['connection_id']}"
        suffix = ", nothing inserted" if dry_run else ""
        console.print(title + suffix, soft_wrap=True, highlight=False)
        console.print(_table(report))
        if "error" in report:
            console.print(report["detail"], style="red", highlight=False)


def _table(report: Mapping[str, Any]) -> Table:
    table = Table("what", Column("records", justify="right"), "ids")
    for name in FIGURES:
        table.add_row(name, str(report[name]), "")
    for name in LISTS:
        ids = [" ".join(item) if isinstance(item, list) else item for item in report[name]]
        shown = "\n".join(ids[:MAX_SHOWN_IDS]) + ("\n…" if len(ids) > MAX_SHOWN_IDS else "")
        table.add_row(name, str(len(ids)), shown)
    table.add_row("webhook_loss", f"{report['webhook_loss']:.2%}", str(report["first_seen"]))
    return table


def reconcile(
    day: Annotated[
        datetime,
        typer.Option(formats=["%Y-%m-%d"], help="The ICT day, for example 2026-05-14; it must be over."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Insert nothing and store no report.")] = False,
    stored: Annotated[
        bool, typer.Option("--stored", help="Show the stored report without a call to Pancake.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare a day of Pancake's records with the stored events.

    It compares every record by identity, inserts what is missing and prints the ledger. Needs the variables
    of the handlers. Exit code 1: a record is left missing, or the list was incomplete.
    """
    settings = read_settings()
    if not stored and not is_over(day.date(), Clock().now()):
        raise WrongUsage(f"{day.date()} is not over yet in Vietnam. Give an earlier day.")
    if stored:
        reports = load_reports(settings, day.date())
    else:
        with show_activity(f"reconciling {day.date()}"):
            reports = asyncio.run((try_out if dry_run else reconcile_and_store)(settings, day.date()))
    print_result(
        reports, lambda: print_reports(reports, ForeignTextConsole(), dry_run=dry_run), as_json=as_json
    )
    raise typer.Exit(_exit_code(reports))


def _exit_code(reports: list[DayReport]) -> ExitCode:
    if any(report.get("error") == PancakeUnavailable.code for report in reports):
        return ExitCode.UNREACHABLE
    if any("error" in report or report.get("left_missing") for report in reports):
        return ExitCode.FAILED
    return ExitCode.OK
