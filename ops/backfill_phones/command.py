"""The command line of `leads backfill-phones`."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TimeRemainingColumn
from rich.text import Text

from leads.domain.errors import DatabaseUnavailable
from ops.backfill_phones.limits import Limits, Stopped
from ops.backfill_phones.report import Report
from ops.backfill_phones.run import Options, run
from ops.clients.db_session import DatabaseError
from ops.error_texts import describe_answer
from ops.failures import ExitCode, WrongUsage
from ops.output import AsJson, ForeignTextConsole, print_json, progress_bar
from ops.settings import read_operator_settings

MODES = {(False, False): "fill", (True, False): "dry run", (False, True): "undo"}
MAX_DEFAULT_PROCESSES = 4


class Rate(ProgressColumn):
    """Accounts per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s")


def backfill_phones(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; show samples and counts.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Empty normalized_phone instead.")] = False,
    anytime: Annotated[bool, typer.Option("--anytime", help="Run outside 02:00 to 06:00 ICT too.")] = False,
    rows_per_batch: Annotated[int, typer.Option(help="Accounts per batch.", min=50, max=50_000)] = 10_000,
    pause_seconds: Annotated[float, typer.Option(help="Seconds between batches.", min=0)] = 0.1,
    processes: Annotated[int, typer.Option(help="Processes that parse.", min=1, max=16)] = min(
        MAX_DEFAULT_PROCESSES, os.cpu_count() or 1
    ),
    state: Annotated[Path, typer.Option(help="File with the position of an interrupted run.")] = Path(
        "backfill_normalized_phone.state.json"
    ),
    unusable: Annotated[Path, typer.Option(help="CSV file for accounts with an unusable phone.")] = Path(
        "backfill_normalized_phone.unusable.csv"
    ),
    as_json: AsJson = False,
) -> None:
    """Fill account.normalized_phone, and verify it.

    It runs beside live traffic. Needs DATABASE_URL. You may stop it (Ctrl-C, SIGTERM) and start it again at
    any time. Exit code 1: it stopped early or was not started (time window, lock waits, another run), or
    usable phones are left; the last line says which. Run it again then.
    """
    if dry_run and undo:
        raise WrongUsage("--dry-run and --undo exclude each other. Give one of them.")
    database_url = read_operator_settings("DATABASE_URL").database_url
    limits = Limits(rows_per_batch=rows_per_batch, pause_seconds=pause_seconds, anytime=anytime)
    options = Options(MODES[dry_run, undo], limits, processes, state, unusable)
    report = Report(options.mode)
    code = _attempt(database_url, options, report)
    if as_json:
        print_json(report.as_json())
    else:
        report.print(ForeignTextConsole())
    raise typer.Exit(code)


def _attempt(database_url: str, options: Options, report: Report) -> ExitCode:
    """Run the backfill and complete its report, also when it ends early."""
    started = time.monotonic()
    try:
        with progress_bar(BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn()) as progress:
            run(database_url, options, report, progress)
    except Stopped as stopped:
        report.reason = str(stopped)
        return ExitCode.FAILED
    except KeyboardInterrupt:
        report.outcome, report.reason = "interrupted", "Interrupted. The next run continues from here."
        return ExitCode.INTERRUPTED
    except (DatabaseUnavailable, DatabaseError) as error:
        report.reason, exit_code = describe_answer(error)
        return exit_code
    finally:
        report.seconds = round(time.monotonic() - started, 2)
    return ExitCode.FAILED if report.outcome == "not verified" else ExitCode.OK
