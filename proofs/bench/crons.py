"""`scripts/bench crons` and `reconcile`: crons with many stored events and many listed records."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from leads.domain.body import ICT
from leads.domain.day_ledger import day_window
from leads.services.cron_runs import CRONS
from leads.services.cron_work import ANSWER_WITHIN_SECONDS
from proofs.bench.environment import (
    AsJson,
    Simulator,
    analyze,
    bench_environment,
    describe_machine,
    print_result,
    run_script,
    simulator,
)

EVENTS_PER_TICKET = 5
DAYS = 120
"""Over which the events are spread. Those older than payload_retention_days (90) have to be emptied."""


def crons(
    events: Annotated[int, typer.Option(help="Stored events, of the last 120 days.", min=1000)] = 1_000_000,
    records: Annotated[int, typer.Option(help="Records that Pancake lists for yesterday.", min=1)] = 100_000,
    as_json: AsJson = False,
) -> None:
    """Run one tick of each cron until it is finished. Exit code 1: a call took longer than a cron may."""
    console = Console(stderr=True)
    window = day_window((datetime.now(UTC).astimezone(ICT) - timedelta(days=1)).date())
    figures: dict[str, dict[str, float]] = {}
    with bench_environment() as bench, simulator(bench) as pancake:
        console.print(f"storing {events:,} events, listing {records:,} records ...")
        store = {"events": events, "days": DAYS, "per": EVENTS_PER_TICKET, "watermark": window.start}
        run_script(bench.database_url, "cron_events", **store)
        analyze(bench.database_url)
        pancake.bulk(records, window.start, window.end)
        for name in CRONS:
            figures[name] = _measure(pancake, name)
            console.print(f"{name}: {figures[name]}")
        rss_mb = round(bench.peak_rss_mb(), 1)
    longest = max(figure["longest_call_seconds"] for figure in figures.values())
    result: dict[str, Any] = {
        "crons": figures,
        "longest_call_seconds": longest,
        "events": events,
        "records": records,
        "rss_mb": rss_mb,
        "bars": {"longest_call_seconds": ANSWER_WITHIN_SECONDS},
        "machine": describe_machine(),
    }
    print_result(result, as_json)


def _measure(pancake: Simulator, name: str) -> dict[str, float]:
    calls_before = len(pancake.call_seconds)
    seconds = pancake.tick(name)
    calls = pancake.call_seconds[calls_before:]
    return {"calls": len(calls), "longest_call_seconds": round(max(calls), 2), "seconds": round(seconds, 1)}


def reconcile(
    records: Annotated[int, typer.Option(help="Records of the reconciled day.", min=1)] = 100_000,
    as_json: AsJson = False,
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
