"""`scripts/bench poll`: the time of a poll that finds nothing new, with few and with many stored events."""

import statistics
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from sandbox.bench.bars import print_result
from sandbox.bench.environment import bench_environment, describe_machine
from sandbox.bench.simulator import Simulator, simulator

LISTED_RECORDS = 2_000
"""Records that each poll lists: those of a busy day."""
WARM_UP_POLLS = 2


def poll(
    rounds: Annotated[int, typer.Option(help="Polls per size; the result is their median.", min=1)] = 15,
    small: Annotated[int, typer.Option(help="Stored events in the first measurement.", min=1)] = 10_000,
    large: Annotated[int, typer.Option(help="Stored events in the second measurement.", min=1)] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure polls that find nothing new: their time with many stored events to that with few.

    Exit code 1: the ratio is above its bar.
    """
    console = Console(stderr=True)
    medians = []
    now = datetime.now(UTC)
    with bench_environment() as bench, simulator(bench) as pancake:
        pancake.bulk(LISTED_RECORDS, now - timedelta(hours=20), now - timedelta(minutes=2))
        pancake.tick("poll_records")
        for size in (small, large):
            console.print(f"storing {size:,} events ...")
            _store(bench.database_url, size)
            medians.append(_measure(pancake, rounds))
            console.print(f"{size:,} events: {medians[-1] * 1000:.0f} ms")
    result: dict[str, Any] = {
        "ratio": round(medians[1] / medians[0], 3),
        "small_ms": round(medians[0] * 1000, 1),
        "large_ms": round(medians[1] * 1000, 1),
        "events": [small, large],
        "listed": LISTED_RECORDS,
        "bars": {"ratio": 1.3},
        "machine": describe_machine(),
    }
    print_result(result, as_json)


def _measure(pancake: Simulator, rounds: int) -> float:
    """Return the median seconds of a poll of the last day; the watermark is reset before each poll."""
    seconds = []
    for _ in range(rounds + WARM_UP_POLLS):
        with psycopg.connect(pancake.bench.database_url, autocommit=True) as db_connection:
            db_connection.execute("UPDATE pancake_connection SET poll_watermark = now() - interval '1 day'")
        seconds.append(pancake.tick("poll_records"))
    return statistics.median(seconds[WARM_UP_POLLS:])


def _store(database_url: str, size: int) -> None:
    """Fill the table up to `size` processed events of past months, with triggers disabled."""
    with psycopg.connect(database_url, autocommit=True) as db_connection:
        db_connection.execute("SET session_replication_role = replica")
        db_connection.execute(
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
        db_connection.execute("VACUUM ANALYZE pancake_webhook_event")
        db_connection.execute("CHECKPOINT")
