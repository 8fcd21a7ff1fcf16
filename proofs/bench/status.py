"""`scripts/bench status`: how long `leads status` looks at a running system with many events."""

from functools import partial
from typing import Annotated

import psycopg
import typer
from rich.console import Console

from leads.services.cron_runs import CRONS
from ops.checks.read_database import read_state
from ops.checks.services import NEEDED, Services
from ops.daily.status import MAY_HAVE, Watcher
from ops.settings import OperatorSettings, read_operator_settings
from proofs.bench.bars import print_result
from proofs.bench.commands import Meter, measure_command
from proofs.bench.environment import describe_machine
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
        for statement in FILL:
            params = {"events": events, "days": DAYS, "crons": list(CRONS)}
            db_connection.execute(statement.encode(), params if "%(" in statement else None)
