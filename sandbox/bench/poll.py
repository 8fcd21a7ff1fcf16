"""`scripts/bench poll`: what a poll with nothing new costs among few and among many stored events."""

import json
import statistics
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from sandbox.bench.environment import machine, stage
from sandbox.bench.simulator import Simulator, simulator

LISTED = 2_000
"""Records that each poll lists: those of a busy day around its window."""


def poll(
    rounds: Annotated[int, typer.Option(help="Polls per size; their median counts.", min=1)] = 15,
    small: Annotated[int, typer.Option(help="Stored events, first.", min=1)] = 10_000,
    large: Annotated[int, typer.Option(help="Stored events, then.", min=1)] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Polls with nothing new, as a ratio of their cost with many stored events to that with few."""
    console = Console(stderr=True)
    medians = []
    now = datetime.now(UTC)
    with stage() as standing, simulator(standing) as pancake:
        pancake.bulk(LISTED, now - timedelta(hours=20), now - timedelta(minutes=2))
        pancake.tick("poll_records")
        for size in (small, large):
            console.print(f"storing {size:,} events ...")
            _store(standing.database_url, size)
            medians.append(_measure(pancake, rounds))
            console.print(f"{size:,} events: {medians[-1] * 1000:.0f} ms")
    result: dict[str, Any] = {
        "ratio": round(medians[1] / medians[0], 3),
        "small_ms": round(medians[0] * 1000, 1),
        "large_ms": round(medians[1] * 1000, 1),
        "events": [small, large],
        "listed": LISTED,
        "bars": {"ratio": 1.3},
        "machine": machine(),
    }
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        Console().print(result)


def _measure(pancake: Simulator, rounds: int) -> float:
    """The median of some polls over the same day: the watermark is put back each time."""
    seconds = []
    for _ in range(rounds + 2):
        with psycopg.connect(pancake.stage.database_url, autocommit=True) as connection:
            connection.execute("UPDATE pancake_connection SET poll_watermark = now() - interval '1 day'")
        seconds.append(pancake.tick("poll_records"))
    return statistics.median(seconds[2:])


def _store(database_url: str, size: int) -> None:
    """Fill the table up to `size` processed events of the months before, with triggers off."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, table_name, modified_on,"
            " payload_hash, payload, status, outcome, arrived_at, received_at, ingested_at, processed_at,"
            " claim_id, source_ids, created_at)"
            " SELECT (SELECT id FROM pancake_connection), 'webhook', gen_random_uuid()::text, 'lead', t.at,"
            " sha256(n::text::bytea), '{}', 'processed', 'ticket_created', t.at, t.at, t.at, t.at,"
            " gen_random_uuid(), ARRAY['-1'], t.at"
            " FROM generate_series((SELECT count(*) FROM pancake_webhook_event) + 1, %s) AS n"
            " CROSS JOIN LATERAL (SELECT now() - interval '2 days' - n * interval '7 seconds' AS at) AS t",
            (size,),
        )
        connection.execute("VACUUM ANALYZE pancake_webhook_event")
        connection.execute("CHECKPOINT")
