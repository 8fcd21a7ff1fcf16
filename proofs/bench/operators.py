"""`scripts/bench status`, `trace` and `backfill`: commands of operators beside many stored rows."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from leads.adapters.database import QUERIES
from leads.domain.trace import read_search, tell_stories
from leads.domain.trace_event import StoredEvent
from leads.services.cron_runs import CRONS
from ops.checks.database import read_state
from ops.checks.services import NEEDED, Services
from ops.clients.db_session import class_row, open_session
from ops.daily.status import MAY_HAVE, Watcher
from ops.settings import OperatorSettings, read_operator_settings
from proofs.bench.environment import (
    AsJson,
    Meter,
    analyze,
    describe_machine,
    measure_command,
    print_result,
    run_script,
)
from proofs.sender import repeating
from sandbox.postgres.database import install_diva, migrate
from sandbox.postgres.server import Cluster
from sandbox.processes import ROOT
from sandbox.stack.stack import Sandbox

DAYS = 30


def status(
    events: Annotated[int, typer.Option(help="Number of events.", min=1000)] = 1_000_000,
    looks: Annotated[int, typer.Option(help="Number of looks.", min=10)] = 60,
    as_json: AsJson = False,
) -> None:
    """Fill the sandbox with events of 30 days, look at it again and again, and measure each look.

    `look`: what the command does once it has started, with its connections: it asks database, engine,
    handlers and edge at the same time, Pancake once a minute. `tables`: the part that reads our tables.
    `command`: whole commands, with the start of Python. Exit code 1: p95 of a look is above its bar.
    """
    console = Console(stderr=True)
    with Cluster(durable=False) as cluster, Sandbox(cluster) as sandbox:
        with console.status(f"Inserting {events} events ..."):
            fill(sandbox.database_url, events)
        settings = read_operator_settings(*NEEDED, may_have=MAY_HAVE, environment=sandbox.environment())
        watcher = Watcher(settings, "default")
        meter = Meter(cluster, sandbox.database_url)
        result = {
            "events": events,
            "looks": looks,
            **meter.measure("look", [watcher.look] * looks),
            **meter.measure("tables", [partial(_read_tables, settings)] * looks),
            **measure_command(["status"], sandbox.environment()),
            "bars": {"look_p95_ms": 300},
            "machine": describe_machine(),
        }
    print_result(result, as_json)


def _read_tables(settings: OperatorSettings) -> None:
    with Services(settings, "status") as services:
        read_state(services)


def fill(database_url: str, events: int) -> None:
    """Insert events of the last 30 days, without their tickets."""
    run_script(database_url, "month_of_events", events=events, days=DAYS, crons=list(CRONS))
    analyze(database_url)


CONNECTION_ID = "f0000000-0000-4000-8000-000000000001"
WARM_UP_TRACES = 10


def trace(
    events: Annotated[int, typer.Option(help="Stored events.", min=1000)] = 1_000_000,
    traces: Annotated[int, typer.Option(help="Searches that are measured.", min=10)] = 100,
    as_json: AsJson = False,
) -> None:
    """Measure searches by phone, record, ticket, event and by a phone that cannot be read.

    `trace`: what the command does once it has started, from connecting to the told stories. `connect`: the
    part until the session is open. `command`: whole commands, with the start of Python.
    Exit code 1: p95 of a trace is above its bar.
    """
    console = Console(stderr=True)
    with Cluster(durable=False) as cluster:
        url = cluster.create_database("trace")
        install_diva(url)
        migrate(url)
        console.print(f"storing {events:,} events ...")
        run_script(url, "leads", events=events, connection=CONNECTION_ID)
        analyze(url)
        searches = _searches(events, WARM_UP_TRACES + traces)
        for text in searches[:WARM_UP_TRACES]:
            _trace(url, text)
        meter = Meter(cluster, url)
        result: dict[str, Any] = {
            "events": events,
            "traces": traces,
            **meter.measure("trace", [partial(_trace, url, text) for text in searches[WARM_UP_TRACES:]]),
            **meter.measure("connect", [partial(_connect, url)] * traces),
            **measure_command(["trace", searches[0]], {"DATABASE_URL": url}),
            "bars": {"trace_p95_ms": 300},
            "machine": describe_machine(),
        }
    print_result(result, as_json)


def _searches(events: int, number: int) -> list[str]:
    """Return texts to search for: each tenth is a phone that cannot be read, another tenth finds nothing."""
    chosen = random.Random(1)
    texts: list[str] = []
    for index in range(number):
        lead = 4 * chosen.randrange(events // 4) + 1
        bad = 100 * chosen.randrange(events // 100) + 99
        kinds = (
            f"0{900000000 + lead}", f"record-{lead}", f"B{lead}", str(lead), f"+84 {900000000 + lead}",
            f"0{900000000 + lead}", f"record-{lead + 2}", f"0{bad}", f"B{lead}", f"no-record-{lead}",
        )  # fmt: skip
        texts.append(kinds[index % len(kinds)])
    return texts


def _trace(url: str, text: str) -> None:
    """Search as the command does, with a separate session."""
    now = datetime.now(UTC)
    with open_session(url, "bench") as db:
        params = read_search(text).params(None, now)
        cursor = db.cursor(row_factory=class_row(StoredEvent))
        stories = tell_stories(cursor.execute(QUERIES["trace_lead/load_events"], params).fetchall(), now)
    if bool(stories) is text.startswith("no-"):
        raise RuntimeError(f"{text}: {len(stories)} leads were found")


def _connect(url: str) -> None:
    open_session(url, "bench").close()


UPDATE_INTERVAL_SECONDS = 0.003


@contextmanager
def updated_accounts(database_url: str) -> Iterator[list[float]]:
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
        with updated_accounts(url) as took:
            report = _run(url, Path(folder))
    result = {
        "accounts": accounts,
        "seconds": report["seconds"],
        "longest_wait_ms": round(max(took, default=0.0), 1),
        "updates_beside": len(took),
        "longest_batch_ms": report["longest_batch_ms"],
        "written": report["written"],
        "unusable": sum(report["unusable"].values()),
        "outcome": report["outcome"],
        "machine": describe_machine(),
    }
    print_result(result, as_json)


def _run(url: str, folder: Path) -> dict[str, Any]:
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
