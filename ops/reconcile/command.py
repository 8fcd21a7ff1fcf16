"""The command line of `leads reconcile`.

It is configured like the handlers and runs the code of the cron pancake_reconcile_daily.
"""

import asyncio
from datetime import date, datetime
from typing import Annotated

import typer

from leads.adapters.clock import Clock
from leads.adapters.settings import Settings, read_settings
from leads.domain.day_ledger import DayReport, is_over
from leads.domain.errors import PancakeUnavailable
from ops.failures import ExitCode, WrongUsage
from ops.output import AsJson, ForeignTextConsole, print_json, show_activity
from ops.reconcile.day import load_reports, reconcile_and_store, try_out
from ops.reconcile.ledger import print_reports


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
    reports = _get_reports(settings, day.date(), dry_run=dry_run, stored=stored)
    if as_json:
        print_json(reports)
    else:
        print_reports(reports, ForeignTextConsole(), dry_run=dry_run)
    raise typer.Exit(_exit_code(reports))


def _exit_code(reports: list[DayReport]) -> ExitCode:
    if any(report.get("error") == PancakeUnavailable.code for report in reports):
        return ExitCode.UNREACHABLE
    if any("error" in report or report.get("left_missing") for report in reports):
        return ExitCode.FAILED
    return ExitCode.OK


def _get_reports(settings: Settings, day: date, *, dry_run: bool, stored: bool) -> list[DayReport]:
    if stored:
        return load_reports(settings, day)
    with show_activity(f"reconciling {day}"):
        work = try_out if dry_run else reconcile_and_store
        return asyncio.run(work(settings, day))
