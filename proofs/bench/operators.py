"""`scripts/bench status`, `trace` and `backfill`: commands of operators beside many stored rows."""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

import psycopg
import typer
from rich.console import Console

from leads.adapters.database import QUERIES
from leads.domain.trace import read_search, tell_stories
from leads.domain.trace_event import StoredEvent
from leads.services.cron_runs import CRONS
from ops.checks.read_database import read_state
from ops.checks.services import NEEDED, Services
from ops.clients.db_session import class_row, open_session
from ops.daily.status import MAY_HAVE, Watcher
from ops.settings import OperatorSettings, read_operator_settings
from proofs.bench.environment import ROOT, describe_machine, print_result
from proofs.bench.measuring import Meter, measure_command
from sandbox.postgres.database import install_diva, migrate
from sandbox.postgres.server import Cluster
from sandbox.stack.stack import Sandbox

DAYS = 30
MONTH_OF_EVENTS = (
    "SET session_replication_role = replica",
    "SET synchronous_commit = off",
    # Nine of ten leads became a ticket.
    """
    INSERT INTO pancake_webhook_event (
        connection_id, origin, record_id, modified_on, payload_hash, payload, status, error_code, outcome,
        arrived_at, received_at, processed_at, notified_at, normalized_phone, source_ids, ticket_id,
        assignee_id, created_at
    )
    SELECT
        c.id, 'webhook', 'r-' || n, t.at, sha256(n::text::bytea), '{"id": 1}', s.status,
        CASE WHEN s.status = 'dead_letter' THEN 'invalid_phone' END,
        CASE WHEN s.status = 'processed' THEN 'ticket_created' END, t.at, t.at,
        CASE WHEN s.status = 'processed' THEN t.at END, t.at, '+84' || (900000000 + n), '{-1}',
        CASE WHEN s.status = 'processed' THEN md5('t' || n)::uuid END,
        'c0000000-0000-4000-8000-000000000001', t.at
    FROM generate_series(1, %(events)s) AS n
    CROSS JOIN LATERAL (SELECT now() - n * (%(days)s * interval '1 day' / %(events)s) AS at) AS t
    CROSS JOIN LATERAL (
        SELECT
            CASE n %% 20 WHEN 0 THEN 'dead_letter' WHEN 1 THEN 'skipped_source_disabled' ELSE 'processed' END
                AS status
    ) AS s
    CROSS JOIN pancake_connection AS c
    """,
    """
    INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome)
    SELECT n.name, t.at, t.at, t.at, 'succeeded'
    FROM unnest(%(crons)s::text[]) AS n (name)
    CROSS JOIN generate_series(now() - interval '30 days', now(), interval '5 minutes') AS t (at)
    """,
    "RESET session_replication_role",
    "VACUUM ANALYZE",
)


def status(
    events: Annotated[int, typer.Option(help="Number of events.", min=1000)] = 1_000_000,
    looks: Annotated[int, typer.Option(help="Number of looks.", min=10)] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
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
    with psycopg.connect(database_url, autocommit=True) as db_connection:
        for statement in MONTH_OF_EVENTS:
            params = {"events": events, "days": DAYS, "crons": list(CRONS)}
            db_connection.execute(statement.encode(), params if "%(" in statement else None)


CONNECTION_ID = "f0000000-0000-4000-8000-000000000001"
WARM_UP_TRACES = 10

# Every fourth event is a later version of the record before it; of 100 records one has an unusable phone.
LEADS = (
    "SET session_replication_role = replica",
    "INSERT INTO pancake_connection (id, name, workspace_id, token_sha256)"
    f" VALUES ('{CONNECTION_ID}', 'benchmark', 1, sha256('token'))",
    "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
    f" VALUES ('{CONNECTION_ID}', '-1', 'Facebook', true)",
    "INSERT INTO account (id, display_name, phone_code, phone_number, normalized_phone)"
    " SELECT md5('a' || n)::uuid, 'Khách ' || n, '84', '0' || (900000000 + n), '+84' || (900000000 + n)"
    " FROM generate_series(1, %(events)s) AS n WHERE n %% 4 > 0 AND n %% 100 <> 99",
    "INSERT INTO contact_book (account_id, primary_phone)"
    " SELECT a.id, a.normalized_phone FROM account AS a WHERE a.display_name LIKE 'Khách %%'",
    "INSERT INTO ticket (id, code, title, source_id, account_id, assignee_id, status)"
    " SELECT md5('t' || n)::uuid, 'B' || n, 'x', 'ticket_source_pancake', md5('a' || n)::uuid,"
    " 'c0000000-0000-4000-8000-000000000001', 'new'"
    " FROM generate_series(1, %(events)s) AS n WHERE n %% 4 > 0 AND n %% 100 <> 99",
    "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, table_name, modified_on,"
    " payload_hash, payload, status, error_code, outcome, arrived_at, received_at, ingested_at, processed_at,"
    " claim_id, normalized_phone, source_ids, account_id, ticket_id, assignee_id, evidence, notifications,"
    " notified_at, created_at)"
    f" SELECT '{CONNECTION_ID}', 'webhook', 'record-' || r.n, 'lead', t.at, sha256(g.event::text::bytea),"
    " jsonb_build_object('id', 'record-' || r.n, 'name', 'Khách ' || r.n, 'phone_number',"
    "   CASE WHEN b.is_bad THEN '0' || r.n ELSE '0' || (900000000 + r.n) END,"
    "   'source', ARRAY['-1'], 'full_address', repeat('126 Hàng Trống, ', 20)),"
    " CASE WHEN b.is_bad THEN 'dead_letter' ELSE 'processed' END,"
    " CASE WHEN b.is_bad THEN 'invalid_phone' END, CASE WHEN NOT b.is_bad THEN o.outcome END,"
    " t.at, t.at, t.at, CASE WHEN NOT b.is_bad THEN t.at END, gen_random_uuid(),"
    " CASE WHEN NOT b.is_bad THEN '+84' || (900000000 + r.n) END, ARRAY['-1'],"
    " CASE WHEN NOT b.is_bad THEN md5('a' || r.n)::uuid END,"
    " CASE WHEN NOT b.is_bad THEN md5('t' || r.n)::uuid END,"
    " CASE WHEN NOT b.is_bad THEN 'c0000000-0000-4000-8000-000000000001'::uuid END,"
    " jsonb_build_object('result', o.outcome, 'digests', jsonb_build_object('name', 'k:0123456789abcdef'),"
    "   'phone', jsonb_build_object('usable', ARRAY['+84' || (900000000 + r.n)],"
    "   'candidates', ARRAY[]::text[], 'winner', md5('a' || r.n)::uuid,"
    "   'matched', '+84' || (900000000 + r.n))),"
    " jsonb_build_array(jsonb_build_object('name', 'new_lead', 'template_code', 'noti_pancake_new_lead',"
    "   'recipient_ids', ARRAY['c0000000-0000-4000-8000-000000000001'],"
    "   'data', jsonb_build_object('phone', '+84' || (900000000 + r.n)))), t.at, t.at"
    " FROM generate_series(1, %(events)s) AS g (event)"
    " CROSS JOIN LATERAL (SELECT g.event - (g.event %% 4 = 0)::integer AS n) AS r"
    " CROSS JOIN LATERAL (SELECT r.n %% 100 = 99 AS is_bad) AS b"
    " CROSS JOIN LATERAL (SELECT CASE WHEN r.n = g.event THEN 'ticket_created' ELSE 'ticket_updated' END"
    "   AS outcome) AS o"
    " CROSS JOIN LATERAL (SELECT now() - (%(events)s - g.event) * interval '7 seconds' AS at) AS t",
    "VACUUM ANALYZE account, contact_book, ticket, pancake_webhook_event",
)


def trace(
    events: Annotated[int, typer.Option(help="Stored events.", min=1000)] = 1_000_000,
    traces: Annotated[int, typer.Option(help="Searches that are measured.", min=10)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
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
        with psycopg.connect(url, autocommit=True) as db_connection:
            console.print(f"storing {events:,} events ...")
            for statement in LEADS:
                db_connection.execute(statement.encode(), {"events": events} if "%(" in statement else None)
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
    """Search as the command does, with a session of its own."""
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
ACCOUNTS = """
INSERT INTO account (display_name, phone_code, phone_number, phone_enabled)
SELECT
    'Account ' || n,
    '84',
    CASE
        WHEN n %% 20 = 0 THEN '0168' || lpad((n %% 10000000)::text, 7, '0')
        WHEN n %% 20 = 1 THEN (ARRAY[
            '', 'none', '123', '+1 650 253 0000', '028 3812 3456', '84 28 3812 3456',
            '0912345678 / 0987654321', '00000000000', '1900 1234', '0084 912 345 678'
        ])[1 + n / 20 %% 10]
        WHEN n %% 2 = 0 THEN '0' || 900000000 + n %% 90000000
        ELSE (300000000 + 20000000 + n %% 70000000)::text
    END,
    n %% 50 <> 0
FROM generate_series(1, %(accounts)s) AS n
"""
"""One in twenty accounts has an old prefix; one in twenty a foreign, landline, double or unusable number."""


class UpdatingSession:
    """Context manager: a database session that updates accounts one by one and measures each update."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._update_accounts)
        self.longest_ms = 0.0
        self.updates = 0

    def _update_accounts(self) -> None:
        choice = random.Random(5)
        with psycopg.connect(self._url, autocommit=True) as db_connection:
            ids = [row[0] for row in db_connection.execute("SELECT id FROM account TABLESAMPLE SYSTEM (5)")]
            while not self._stop.wait(UPDATE_INTERVAL_SECONDS):
                started = time.perf_counter()
                db_connection.execute(
                    "UPDATE account SET display_name = display_name WHERE id = %s", [choice.choice(ids)]
                )
                self.longest_ms = max(self.longest_ms, (time.perf_counter() - started) * 1000)
                self.updates += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


def backfill(
    accounts: Annotated[int, typer.Option(help="Number of accounts.", min=1000)] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fill normalized_phone of many accounts: seconds, and the longest wait of a concurrent session."""
    with Cluster(durable=True) as cluster, tempfile.TemporaryDirectory() as folder:
        url = cluster.create_database("backfill")
        install_diva(url)
        migrate(url)
        with psycopg.connect(url, autocommit=True) as db_connection:
            db_connection.execute(ACCOUNTS, {"accounts": accounts})
            db_connection.execute("VACUUM ANALYZE account")
            db_connection.execute("CHECKPOINT")
        with UpdatingSession(url) as session:
            report = _run(url, Path(folder))
    result = {
        "accounts": accounts,
        "seconds": report["seconds"],
        "longest_wait_ms": round(session.longest_ms, 1),
        "updates_beside": session.updates,
        "longest_batch_ms": report["longest_batch_ms"],
        "written": report["written"],
        "unusable": sum(report["unusable"].values()),
        "outcome": report["outcome"],
        "machine": describe_machine(),
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        Console().print(result)


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
