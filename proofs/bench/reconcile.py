"""`scripts/bench reconcile`: the daily reconciliation of a day without any webhook, in two runs.

The first run inserts every record, the second finds all of them covered. The bars apply to the first.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from leads.domain.body import ICT
from leads.domain.day_ledger import day_window
from leads.services.cron_work import ANSWER_WITHIN_SECONDS
from proofs.bench.bars import print_result
from proofs.bench.environment import bench_environment, describe_machine
from proofs.bench.simulator import simulator


def reconcile(
    records: Annotated[int, typer.Option(help="Records of the reconciled day.", min=1)] = 100_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the daily reconciliation against the simulator: seconds, and the handler's peak memory.

    Exit code 1: a figure is above its bar, or a record was not inserted.
    """
    console = Console(stderr=True)
    day = (datetime.now(UTC).astimezone(ICT) - timedelta(days=1)).date()
    window = day_window(day)
    with bench_environment() as bench, simulator(bench) as pancake:
        _limit_to_days_since(bench.database_url, window.start)
        console.print(f"creating {records:,} records of {day} ...")
        pancake.bulk(records, window.start, window.end)
        cpu_seconds_before = bench.cpu_seconds()
        first_seconds = pancake.tick("reconcile_daily")
        cpu_seconds = bench.cpu_seconds() - cpu_seconds_before
        console.print(f"all missing: {first_seconds:.1f} s")
        inserted = _delete_runs(bench.database_url)
        second_seconds = pancake.tick("reconcile_daily")
        console.print(f"all covered: {second_seconds:.1f} s")
        result: dict[str, Any] = {
            "seconds": round(first_seconds, 1),
            "seconds_covered": round(second_seconds, 1),
            "handler_cpu_seconds": round(cpu_seconds, 1),
            "records": records,
            "inserted": inserted,
            "records_per_second": round(records / first_seconds),
            "calls": len(pancake.call_seconds),
            "longest_call_seconds": round(max(pancake.call_seconds), 1),
            "rss_mb": round(bench.peak_rss_mb(), 1),
            "bars": {"seconds": 60, "longest_call_seconds": ANSWER_WITHIN_SECONDS, "rss_mb": 128},
            "machine": describe_machine(),
        }
    print_result(result, as_json)
    if inserted != records:
        console.print(f"{inserted:,} of {records:,} records were inserted.")
        raise typer.Exit(1)


def _limit_to_days_since(database_url: str, since: datetime) -> None:
    """Set the creation of the connection to that day, so that no earlier day is reconciled."""
    with psycopg.connect(database_url, autocommit=True) as db_connection:
        db_connection.execute("UPDATE pancake_connection SET created_at = %s", (since,))


def _delete_runs(database_url: str) -> int:
    """Delete the cron runs, so that the day can be reconciled again; return the number of inserted events."""
    with psycopg.connect(database_url, autocommit=True) as db_connection:
        db_connection.execute("DELETE FROM pancake_cron_run")
        (found,) = db_connection.execute(
            "SELECT count(*) FROM pancake_webhook_event WHERE origin = 'reconcile'"
        ).fetchone() or (0,)
    return int(found)
