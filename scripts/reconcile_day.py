"""`scripts/reconcile`: reckon one closed ICT day, or show the report that is stored.

It is configured like the handlers (DATABASE_URL, ENCRYPTION_KEYS and the rest) and runs their own code.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import psycopg
import typer
from psycopg.rows import dict_row
from rich.console import Console
from rich.table import Table

from cron.reconcile_daily import reconcile_owed
from leads.adapters.hasura_calls import CronCall
from leads.adapters.queries import QUERIES
from leads.adapters.settings import SettingsError, read_settings
from leads.domain.errors import IntegrationError, Retryable
from leads.domain.window import ICT
from leads.services.connections import for_each, load_connections
from leads.services.cron_runs import CronRun
from leads.services.reconcile_daily.day import reconcile_day
from leads.services.runtime import Runtime

BUDGET_SECONDS = 6 * 3600.0
STORED = QUERIES["reconcile_daily/load_reports"]
LISTS = (
    "found_missing",
    "left_missing",
    "rejected",
    "duplicates",
    "unexpected",
    "unlisted",
    "sample_missing",
)
FIGURES = (
    "expected",
    "found",
    "processed",
    "held",
    "pending",
    "inserted",
    "superseded",
    "sampled",
    "seconds",
)

app = typer.Typer(add_completion=False)


@app.command()
def main(
    day: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="The ICT day, say 2026-05-14; it should be over.")
    ],
    dry_run: Annotated[bool, typer.Option(help="Insert nothing and store no report.")] = False,
    stored: Annotated[
        bool, typer.Option(help="Show the report that is stored, ask Pancake nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reports as one JSON array.")] = False,
) -> None:
    """Compare every record of a day with our rows by identity, insert what is missing, print the ledger.

    Exit code 1: a record is left missing or the list was incomplete; 2: it could not be reckoned.
    """
    try:
        settings = read_settings()
        if stored:
            reports = _stored(settings.database_url, f"{day:%Y-%m-%d}")
        else:
            reports = asyncio.run(_reckon(Runtime.assemble(settings), day, dry_run=dry_run))
    except (SettingsError, IntegrationError, psycopg.Error) as error:
        Console(stderr=True).print(f"[red]The day was not reckoned:[/] {error}", highlight=False)
        raise typer.Exit(2) from error
    if as_json:
        sys.stdout.write(json.dumps(reports, ensure_ascii=False, indent=2, default=str) + "\n")
    else:
        _show(reports, dry_run=dry_run)
    if any("error" in report or report.get("left_missing") for report in reports):
        raise typer.Exit(1)


async def _reckon(runtime: Runtime, day: datetime, *, dry_run: bool) -> list[dict[str, Any]]:
    await runtime.open()
    try:
        if dry_run:
            return await _rehearse(runtime, day)
        now = runtime.clock.now()
        call = CronCall("script", "pancake_reconcile_daily", now, {"day": f"{day:%Y-%m-%d}"})
        try:
            answer = await runtime.cron_runs.run(
                call, partial(reconcile_owed, runtime), budget_seconds=BUDGET_SECONDS
            )
        except Retryable:
            if not (reports := _stored(runtime.settings.database_url, f"{day:%Y-%m-%d}")):
                raise
            return reports
        if answer["result"] != "succeeded":
            raise IntegrationError(f"the cron says: {answer.get('reason', answer['result'])}")
        return _stored(runtime.settings.database_url, f"{day:%Y-%m-%d}")
    finally:
        await runtime.close()


async def _rehearse(runtime: Runtime, day: datetime) -> list[dict[str, Any]]:
    now = runtime.clock.now()
    run = CronRun(0, now, now, {}, lambda: BUDGET_SECONDS)
    work = partial(reconcile_day, runtime, run, day.date(), dry_run=True)
    return await for_each(await load_connections(runtime.db, runtime.settings.key_ring), work)


def _stored(database_url: str, day: str) -> list[dict[str, Any]]:
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        return [row["report"] for row in connection.execute(STORED, {"day": day})]


def _show(reports: Sequence[dict[str, Any]], *, dry_run: bool) -> None:
    console = Console()
    if not reports:
        console.print("No report of that day, and no connection that could be reckoned.")
    for report in reports:
        if "expected" not in report:
            console.print(f"[red]{report['connection_id']}: {report['detail']}", highlight=False)
            continue
        title = f"{report['day']} ({ICT}), connection {report['connection_id']}"
        table = Table(title=title + (", nothing inserted" if dry_run else ""), title_justify="left")
        table.add_column("what")
        table.add_column("records", justify="right")
        table.add_column("ids")
        for name in FIGURES:
            table.add_row(name, str(report[name]), "")
        for name in LISTS:
            ids = [" ".join(item) if isinstance(item, list) else item for item in report[name]]
            table.add_row(name, str(len(ids)), "\n".join(ids[:10]) + ("\n…" if len(ids) > 10 else ""))
        table.add_row("webhook_loss", f"{report['webhook_loss']:.2%}", str(report["first_seen"]))
        console.print(table)
        if "error" in report:
            console.print(f"[red]{report['detail']}", highlight=False)


if __name__ == "__main__":
    app(prog_name="scripts/reconcile")
