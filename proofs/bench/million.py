"""`scripts/bench crons` and `backfill`: crons beside a million events, phones of a million accounts."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from cron.check_sla import MAX_TICKETS_PER_TICK
from leads.domain.body import ICT
from leads.domain.day_ledger import day_window
from leads.services.cron_runs import CRONS
from proofs.bench.environment import (
    OWN_STATEMENTS,
    AsJson,
    Simulator,
    analyze,
    bench_environment,
    describe_machine,
    print_result,
    run_script,
    simulator,
)
from proofs.loadtest.costs import COUNTING, begin_counting, longest_statement
from proofs.sender import repeating
from sandbox.postgres.database import install_diva, migrate
from sandbox.postgres.server import Cluster
from sandbox.processes import ROOT

EVENTS_PER_TICKET = 5
MAX_CALL_SECONDS, MAX_RECONCILE_SECONDS, MAX_RSS_MB = 4, 60, 128
DAYS = 120
"""Over which the events are spread. Those older than payload_retention_days (90) have to be emptied."""


def crons(
    events: Annotated[int, typer.Option(help="Stored events, of the last 120 days.", min=1000)] = 1_000_000,
    records: Annotated[int, typer.Option(help="Records that Pancake lists for yesterday.", min=1)] = 100_000,
    only: Annotated[
        list[str] | None, typer.Option(help=f"This cron, or several: {', '.join(CRONS)}.")
    ] = None,
    backlog: Annotated[
        int, typer.Option(help="Received events, each with a pending event of Hasura.", min=0)
    ] = 100_000,
    stale: Annotated[
        bool, typer.Option("--stale", help="Keep the statistics of empty tables for all crons.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run one tick of each cron until it is finished. Polling stores what Pancake lists.

    The retry cron runs first of all, while the statistics are those of empty tables, and again.
    Reconciliation then finds it stored; with `--only reconcile_daily` it stores all of it. Of each cron the
    statement is named of which one execution took longest. Exit code 1: a figure is above its bar, a record
    was not stored, or check_sla flagged fewer late tickets than it may.
    """
    chosen = [name for name in CRONS if not only or name in only]
    if not chosen:
        raise typer.BadParameter(f"use one of {', '.join(CRONS)}", param_hint="--only")
    console = Console(stderr=True)
    window = day_window((datetime.now(UTC).astimezone(ICT) - timedelta(days=1)).date())
    figures: dict[str, dict[str, Any]] = {}
    settings = COUNTING | ({"autovacuum": "off"} if stale else {})
    with bench_environment(settings=settings) as bench, simulator(bench) as pancake:
        console.print(f"storing {events:,} events, listing {records:,} records ...")
        analyze(bench.database_url)
        store = {"events": events, "days": DAYS, "per": EVENTS_PER_TICKET, "watermark": window.start}
        run_script(bench.database_url, "cron_events", **store, backlog=backlog)
        if "retry_failed" in chosen:
            figures["retry_failed, statistics of empty tables"] = _measure(pancake, "retry_failed")
        if not stale:
            analyze(bench.database_url)
        pancake.bulk(records, window.start, window.end)
        for name in chosen:
            figures[name] = _measure(pancake, name)
            console.print(f"{name}: {figures[name]}")
        rss_mb, stored = round(bench.peak_rss_mb(), 1), _count_found(bench.database_url)
        missed = _count_missed(bench.database_url) if "check_sla" in chosen else 0
    longest = max(figure["longest_call_seconds"] for figure in figures.values())
    result: dict[str, Any] = {
        "crons": figures,
        "longest_call_seconds": longest,
        "events": events,
        "records": records,
        "stored": stored,
        "backlog": backlog,
        "rss_mb": rss_mb,
        "late_tickets_missed": missed,
        "bars": {
            "longest_call_seconds": MAX_CALL_SECONDS,
            "rss_mb": MAX_RSS_MB,
            "late_tickets_missed": 0,
        },
        "machine": describe_machine(),
    }
    if "reconcile_daily" in figures:
        result["reconcile_seconds"] = figures["reconcile_daily"]["seconds"]
        result["bars"]["reconcile_seconds"] = MAX_RECONCILE_SECONDS
    print_result(result, as_json)
    if stored != records and {"poll_records", "reconcile_daily"} & figures.keys():
        console.print(f"{stored:,} of {records:,} records were stored.")
        raise typer.Exit(1)


def _measure(pancake: Simulator, name: str) -> dict[str, Any]:
    calls_before = len(pancake.call_seconds)
    begin_counting(pancake.bench.database_url)
    seconds = pancake.tick(name)
    calls = pancake.call_seconds[calls_before:]
    statement, statement_seconds = longest_statement(pancake.bench.database_url)
    return {
        "calls": len(calls),
        "longest_call_seconds": round(max(calls), 2),
        "seconds": round(seconds, 1),
        "longest_statement": statement,
        "longest_statement_seconds": round(statement_seconds, 2),
        "peak_rss_mb_until_then": round(pancake.bench.peak_rss_mb(), 1),
    }


def _count_found(database_url: str) -> int:
    """Return the number of records that polling and reconciliation stored."""
    with psycopg.connect(database_url) as db_connection:
        found = "SELECT count(*) FROM pancake_webhook_event WHERE origin <> 'webhook'"
        ((number,),) = db_connection.execute(found).fetchall()
    return int(number)


def _count_missed(database_url: str) -> int:
    """Return how many late tickets the tick of check_sla did not flag, of those that one tick flags."""
    with psycopg.connect(database_url) as db_connection:
        (late,), (flagged,) = (
            row
            for name in ("late/count", "late/count_flagged")
            for row in db_connection.execute(OWN_STATEMENTS[name], {"now": datetime.now(UTC)})
        )
    return min(int(late), MAX_TICKETS_PER_TICK) - int(flagged)


UPDATE_INTERVAL_SECONDS = 0.003


def backfill(
    accounts: Annotated[int, typer.Option(help="Number of accounts.", min=1000)] = 1_000_000,
    as_json: AsJson = False,
) -> None:
    """Fill normalized_phone of many accounts: seconds, and the longest wait of a concurrent session."""
    with Cluster(durable=True) as cluster, tempfile.TemporaryDirectory() as folder:
        url = cluster.create_database("backfill")
        install_diva(url)
        migrate(url)
        run_script(url, "accounts", accounts=accounts)
        analyze(url)
        with _updating_accounts(url) as took:
            report = _backfill(url, Path(folder))
    figures = {name: report[name] for name in ("seconds", "longest_batch_ms", "written", "outcome")}
    result = {
        "accounts": accounts,
        **figures,
        "unusable": sum(report["unusable"].values()),
        "longest_wait_ms": round(max(took, default=0.0), 1),
        "updates_beside": len(took),
        "machine": describe_machine(),
    }
    print_result(result, as_json)


@contextmanager
def _updating_accounts(database_url: str) -> Iterator[list[float]]:
    """Update accounts one by one within the block, in a session; the list has the milliseconds of each."""
    choice, took = random.Random(5), list[float]()
    with psycopg.connect(database_url, autocommit=True) as db:
        ids = [row[0] for row in db.execute("SELECT id FROM account TABLESAMPLE BERNOULLI (5)")]

        def update() -> None:
            started = time.perf_counter()
            db.execute("UPDATE account SET display_name = display_name WHERE id = %s", [choice.choice(ids)])
            took.append((time.perf_counter() - started) * 1000)

        with repeating(update, UPDATE_INTERVAL_SECONDS):
            yield took


def _backfill(url: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "ops", "backfill-phones", "--anytime", "--json",
         "--unusable", folder / "unusable.csv"],
        env=os.environ | {"DATABASE_URL": url}, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        typer.echo(f"The backfill ended with exit code {done.returncode}: {done.stdout[-2000:]}", err=True)
        raise typer.Exit(1)
    report: dict[str, Any] = json.loads(done.stdout)
    return report
