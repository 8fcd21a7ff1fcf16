"""`scripts/bench crons`: the longest call of each of the seven crons, with many stored events and records."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from leads.domain.body import ICT
from leads.domain.day_ledger import day_window
from leads.services.cron_runs import CRONS
from leads.services.cron_work import ANSWER_WITHIN_SECONDS
from proofs.bench.bars import print_result
from proofs.bench.environment import bench_environment, describe_machine
from proofs.bench.simulator import Simulator, simulator

EVENTS_PER_TICKET = 5
DAYS = 120
"""Over which the events are spread. Those older than payload_retention_days (90) have to be emptied."""


def crons(
    events: Annotated[int, typer.Option(help="Stored events, of the last 120 days.", min=1000)] = 1_000_000,
    records: Annotated[int, typer.Option(help="Records that Pancake lists for yesterday.", min=1)] = 100_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run one tick of each cron until it is finished. Exit code 1: a call took longer than a cron may."""
    console = Console(stderr=True)
    window = day_window((datetime.now(UTC).astimezone(ICT) - timedelta(days=1)).date())
    figures: dict[str, dict[str, float]] = {}
    with bench_environment() as bench, simulator(bench) as pancake:
        console.print(f"storing {events:,} events, listing {records:,} records ...")
        _store(bench.database_url, events, window.start)
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
    return {
        "calls": len(calls),
        "longest_call_seconds": round(max(calls), 2),
        "seconds": round(seconds, 1),
    }


def _store(database_url: str, events: int, watermark: datetime) -> None:
    """Store processed events, every fifth with a ticket; the newest thousand wait to be brought back.

    Half of those failed and are due, half were received half an hour ago. Triggers are disabled meanwhile.
    """
    with psycopg.connect(database_url, autocommit=True) as db_connection:
        db_connection.execute("SET session_replication_role = replica")
        db_connection.execute(
            "CREATE TEMPORARY TABLE made AS"
            " SELECT n, now() - n * (%(days)s * interval '1 day' / %(events)s) - interval '40 minutes' AS at,"
            " CASE WHEN n %% %(per)s = 0 AND n > 1000 THEN gen_random_uuid() END AS ticket_id,"
            " CASE WHEN n <= 500 THEN 'failed' WHEN n <= 1000 THEN 'received' ELSE 'processed' END AS status"
            " FROM generate_series(1, %(events)s) AS n",
            {"days": DAYS, "events": events, "per": EVENTS_PER_TICKET},
        )
        db_connection.execute(
            "INSERT INTO ticket (id, title, source_id, assignee_id, created_at)"
            " SELECT m.ticket_id, 'Lead', 'ticket_source_pancake',"
            " (SELECT s.id FROM staff AS s WHERE s.role = 'telesale' LIMIT 1), m.at"
            " FROM made AS m WHERE m.ticket_id IS NOT NULL"
        )
        db_connection.execute(
            "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, table_name, modified_on,"
            " payload_hash, payload, normalized_phone, status, error_code, outcome, ticket_id, arrived_at,"
            " received_at, ingested_at, processed_at, next_attempt_at, attempts, source_ids, created_at)"
            " SELECT c.id, 'webhook', gen_random_uuid()::text, 'lead', m.at, sha256(m.n::text::bytea),"
            " jsonb_build_object('id', m.n, 'full_name', 'Nguyen Van A'),"
            " '+849' || lpad(m.n::text, 8, '0'), m.status, CASE m.status WHEN 'failed' THEN 'internal' END,"
            " CASE WHEN m.ticket_id IS NOT NULL THEN 'ticket_created'"
            " WHEN m.status = 'processed' THEN 'no_change' END,"
            " m.ticket_id, m.at, m.at,"
            " CASE m.status WHEN 'processed' THEN m.at END, CASE m.status WHEN 'processed' THEN m.at END,"
            " CASE m.status WHEN 'failed' THEN m.at END, CASE m.status WHEN 'received' THEN 0 ELSE 1 END,"
            " ARRAY['-1'], m.at"
            " FROM made AS m CROSS JOIN pancake_connection AS c"
        )
        db_connection.execute("UPDATE pancake_connection SET poll_watermark = %s", (watermark,))
        db_connection.execute("VACUUM ANALYZE pancake_webhook_event, ticket")
        db_connection.execute("CHECKPOINT")
