"""The command line of `scripts/backfill_normalized_phone`."""

import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from psycopg.rows import dict_row
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from scripts.backfill.limits import Limits, Stopped, check_window
from scripts.backfill.parsing import Parsers
from scripts.backfill.passes import Backfill
from scripts.backfill.report import Report
from scripts.backfill.state import State
from scripts.backfill.watching import LockWatch
from scripts.backfill.writing import Writer

VERIFIED, NOT_VERIFIED, NOT_STARTED, STOPPED, INTERRUPTED = 0, 1, 2, 3, 130
ONE_AT_A_TIME = "SELECT pg_try_advisory_lock(hashtext('backfill_normalized_phone')) AS ours"
MODES = {(False, False): "fill", (True, False): "dry run", (False, True): "undo"}


class Rate(ProgressColumn):
    """Accounts per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s")


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    mode: str
    limits: Limits
    processes: int
    state: Path
    unusable: Path


def run(database_url: str, options: Options, report: Report, progress: Progress) -> None:
    """Do it, filling the report. Raises Stopped, KeyboardInterrupt and what psycopg raises."""
    with ExitStack() as stack:
        reader = stack.enter_context(psycopg.connect(database_url, autocommit=True, row_factory=dict_row))
        parsers = stack.enter_context(Parsers(options.processes))
        job = Backfill(reader, parsers, options.limits, report, progress, lambda: datetime.now(UTC))
        if options.mode == "dry run":
            job.rehearse()
            return
        check_window(options.limits, job.now())
        connection = stack.enter_context(psycopg.connect(database_url, autocommit=True, row_factory=dict_row))
        row = connection.execute(ONE_AT_A_TIME).fetchone()
        if row is None or not row["ours"]:
            raise Stopped("another backfill is running on this database")
        watch = stack.enter_context(LockWatch(database_url, connection, options.limits.wait_seconds))
        writer = Writer(connection, options.limits, watch.check)
        info = connection.info
        state = State(options.state, f"{info.host}:{info.port}/{info.dbname}")
        try:
            if options.mode == "undo":
                job.undo(writer, state)
            else:
                job.fill(writer, state, options.unusable)
        finally:
            report.longest_batch_ms = round(writer.longest_ms, 1)
            report.longest_wait_ms = round(watch.longest_ms, 1)


def main(
    dry_run: Annotated[bool, typer.Option(help="Write nothing; show samples and counts by reason.")] = False,
    undo: Annotated[bool, typer.Option(help="Empty normalized_phone instead of filling it.")] = False,
    anytime: Annotated[bool, typer.Option(help="Run outside 02:00 to 06:00 ICT too.")] = False,
    batch: Annotated[int, typer.Option(help="Accounts per batch.", min=50, max=50_000)] = 10_000,
    pause: Annotated[float, typer.Option(help="Seconds between batches.", min=0)] = 0.1,
    processes: Annotated[int, typer.Option(help="Processes that parse.", min=1, max=16)] = min(
        4, os.cpu_count() or 1
    ),
    state: Annotated[Path, typer.Option(help="Where an interrupted run stood.")] = Path(
        "backfill_normalized_phone.state.json"
    ),
    unusable: Annotated[Path, typer.Option(help="CSV of accounts with an unusable phone.")] = Path(
        "backfill_normalized_phone.unusable.csv"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fill account.normalized_phone of the database that DATABASE_URL names, beside live traffic.

    May be stopped (Ctrl-C) and started again at any time. Exit codes: 0 done and verified, 1 done but rows
    are left, 2 not started, 3 stopped early (window, lock waits): run it again, 130 interrupted.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    database_url = os.environ.get("DATABASE_URL", "").strip()
    if not database_url or (dry_run and undo):
        typer.echo(
            "--dry-run and --undo exclude each other." if database_url else "DATABASE_URL is not set.",
            err=True,
        )
        raise typer.Exit(NOT_STARTED)
    limits = Limits(batch=batch, pause_seconds=pause, anytime=anytime)
    options = Options(MODES[dry_run, undo], limits, processes, state, unusable)
    report = Report(options.mode)
    code = _attempt(database_url, options, report)
    if as_json:
        typer.echo(json.dumps(report.as_json()))
    else:
        report.print(Console())
    sys.stdout.flush()
    raise typer.Exit(code)


def _attempt(database_url: str, options: Options, report: Report) -> int:
    started = time.monotonic()
    errors = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        Rate(), TimeRemainingColumn(),
    )  # fmt: skip
    try:
        with Progress(*columns, console=errors, disable=not errors.is_terminal, transient=True) as progress:
            run(database_url, options, report, progress)
    except Stopped as stopped:
        report.reason = str(stopped)
        return STOPPED if report.read or report.written else NOT_STARTED
    except KeyboardInterrupt:
        report.outcome, report.reason = "interrupted", "Interrupted; the next run goes on from here."
        return INTERRUPTED
    except psycopg.Error as error:
        report.reason = f"{type(error).__name__}: {str(error).strip()}"
        return STOPPED if report.read or report.written else NOT_STARTED
    finally:
        report.seconds = round(time.monotonic() - started, 2)
    return NOT_VERIFIED if report.outcome == "not verified" else VERIFIED


app = typer.Typer(add_completion=False)
app.command()(main)

if __name__ == "__main__":
    app(prog_name="scripts/backfill_normalized_phone")
