"""`scripts/bench status`: how long `leads status` looks at a running system with many events."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import quantiles
from typing import Annotated

import psycopg
import typer
from rich.console import Console

from leads.adapters.db_session import open_session
from leads.adapters.settings import read_operator_settings
from leads.cli.status.looking import MAY_HAVE, NEEDS, Watcher
from leads.cli.status.state import read_state
from sandbox.bench.environment import describe_machine
from sandbox.postgres.server import Cluster
from sandbox.stack.stack import Sandbox

DAYS = 30
FILL = (
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
    FROM unnest('{sync_sources,check_connection,retry_failed,check_sla,poll_records}'::text[]) AS n (name)
    CROSS JOIN generate_series(now() - interval '30 days', now(), interval '5 minutes') AS t (at)
    """,
    "RESET session_replication_role",
    "VACUUM ANALYZE",
)


def status(
    events: Annotated[int, typer.Option(help="Number of events.", min=1000)] = 1_000_000,
    looks: Annotated[int, typer.Option(help="Number of looks.", min=10)] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON.")] = False,
) -> None:
    """Fill the sandbox with events of 30 days, look at it again and again, and measure each look.

    One look asks database, engine, handlers and edge at the same time; Pancake once a minute. The start of
    the program is not in it.
    """
    console = Console(stderr=True)
    with Cluster(durable=False) as cluster, Sandbox(cluster) as sandbox:
        with console.status(f"Inserting {events} events ..."):
            fill(sandbox.database_url, events)
        settings = read_operator_settings(*NEEDS, may_have=MAY_HAVE, environment=sandbox.environment())
        watcher = Watcher(settings, "default")
        whole = [_measure(watcher.look) for _ in range(looks)]
        with open_session(sandbox.database_url, "bench") as db:
            tables = [_measure(lambda: read_state(db, datetime.now(UTC))) for _ in range(looks)]
    result = {"events": events, "looks": looks, **_describe("look", whole), **_describe("tables", tables)}
    if not as_json:
        console.print(describe_machine())
    typer.echo(json.dumps(result))


def fill(database_url: str, events: int) -> None:
    """Insert events of the last 30 days, without their tickets."""
    with psycopg.connect(database_url, autocommit=True) as db_connection:
        for statement in FILL:
            params = {"events": events, "days": DAYS} if "%(events)s" in statement else None
            db_connection.execute(statement.encode(), params)


def _measure(work: Callable[[], object]) -> float:
    """Return how many milliseconds a call takes."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def _describe(name: str, milliseconds: list[float]) -> dict[str, float]:
    """Return median, 95th percentile and maximum."""
    cuts = quantiles(milliseconds, n=20)
    return {
        f"{name}_p50_ms": round(cuts[9], 1),
        f"{name}_p95_ms": round(cuts[18], 1),
        f"{name}_max_ms": round(max(milliseconds), 1),
    }
