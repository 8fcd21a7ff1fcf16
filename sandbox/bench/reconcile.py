"""`scripts/bench reconcile`: the daily reconciliation of a day that the webhook missed altogether, and again.

The first pass inserts every record, the second finds all of them covered. The bar is on the first.
"""

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from leads.domain.window import ICT, day_window
from sandbox.bench.environment import machine, stage
from sandbox.bench.simulator import simulator


def reconcile(
    records: Annotated[int, typer.Option(help="Records of the closed day.", min=1)] = 100_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The daily reconciliation against the simulator: seconds, and the handler's memory at its peak."""
    console = Console(stderr=True)
    day = (datetime.now(UTC).astimezone(ICT) - timedelta(days=1)).date()
    window = day_window(day)
    with stage() as standing, simulator(standing) as pancake:
        _only_owe(standing.database_url, window.start)
        console.print(f"making {records:,} records of {day} ...")
        pancake.bulk(records, window.start, window.end)
        cpu = standing.cpu_seconds()
        first = pancake.tick("reconcile_daily")
        cpu = standing.cpu_seconds() - cpu
        console.print(f"all missing: {first:.1f} s")
        inserted = _forget(standing.database_url)
        second = pancake.tick("reconcile_daily")
        console.print(f"all covered: {second:.1f} s")
        result: dict[str, Any] = {
            "seconds": round(first, 1),
            "seconds_covered": round(second, 1),
            "handler_cpu_seconds": round(cpu, 1),
            "records": records,
            "inserted": inserted,
            "records_per_second": round(records / first),
            "rss_mb": round(standing.peak_rss_mb(), 1),
            "bars": {"seconds": 60, "rss_mb": 128},
            "machine": machine(),
        }
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        Console().print(result)
    if inserted != records:
        raise typer.Exit(1)


def _only_owe(database_url: str, since: datetime) -> None:
    """Let the connection exist since that day, so that no other one is reckoned."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE pancake_connection SET created_at = %s", (since,))


def _forget(database_url: str) -> int:
    """Forget the run; returns how many rows it inserted."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM pancake_cron_run")
        (found,) = connection.execute(
            "SELECT count(*) FROM pancake_webhook_event WHERE origin = 'reconcile'"
        ).fetchone() or (0,)
    return int(found)
