"""`scripts/bench process`: events per second of the handler, compared with pgbench on the same statements.

Each event is the lead of a new customer: account, contact, ticket, owner from one roster, notification.
pgbench runs the handler's SQL files in the same two transactions (claim, work) and marks the notification as
sent; it spends no time on parsing, deciding and sending.
"""

import json
import re
import statistics
from typing import Annotated, Any

import psycopg
import typer
import uvloop
from rich.console import Console

from leads.adapters.queries import QUERIES
from sandbox.bench.environment import SECRET, BenchEnvironment, bench_environment, describe_machine
from sandbox.bench.load import Measurement, closed_loop, request_for
from sandbox.bench.pgbench import pgbench
from sandbox.bench.sink import notification_sink

CONCURRENT_CLIENTS = 32
MAX_REQUESTS_PER_SECOND = 4000
WARM_UP_SECONDS = 1
PHONE = "'+84' || (900000000 + :id)::text"
CONNECTION = "(SELECT id FROM pancake_connection LIMIT 1)"
EXPRESSIONS = {
    "id": ":id",
    "claim_id": "(SELECT claim_id FROM pancake_webhook_event WHERE id = :id)",
    "record_id": "'bench-' || :id::text",
    "record_ids": "ARRAY['bench-' || :id::text]",
    "connection_id": CONNECTION,
    "connection_ids": f"ARRAY[{CONNECTION}]",
    "table_name": "'lead'",
    "table_names": "ARRAY['lead']",
    "changes": "true",
    "is_applied": "true",
    "record_ticket_id": "NULL",
    "record_account_id": "NULL",
    "phones": f"ARRAY[{PHONE}]",
    "phone_digests": "'{}'",
    "erasure_digests": "ARRAY['0123456789abcdef', 'fedcba9876543210']",
    "own_phones": "'{}'",
    "own_digits": "'{}'",
    "stored_digits": "ARRAY[(900000000 + :id)::text, '0' || (900000000 + :id)::text]",
    "phone": PHONE,
    "account_phone": PHONE,
    "account_id": ":s_new_account_id",
    "ticket_id": ":s_new_ticket_id",
    "roster_source_id": "NULL",
    "assignee_id": ":r_staff_id::uuid",
    "chosen": ":r_assignee_id",
    "assignee_ids": "ARRAY[:r_assignee_id::uuid]",
    "assigned_counts": "ARRAY[:r_assigned_count::bigint + 1]",
    "last_assigned_seqs": "ARRAY[:r_last_assigned_seq::bigint + 1]",
    "was_available": "ARRAY[true]",
    "now": "now()",
    "ids": "ARRAY[:id::bigint]",
    "claimed_ats": "ARRAY[(SELECT notify_claimed_at FROM pancake_webhook_event WHERE id = :id)]",
    "outcome": "'ticket_created'",
    "display_name": "'Nguyen Van A'",
    "name": "'Nguyen Van A'",
    "title": "'Lead Pancake: Nguyen Van A'",
    "phone_code": "'84'",
    "phone_number": "'0' || (900000000 + :id)::text",
    "email": "'a@example.com'",
    "address": "'126 Hang Trong, Ha Noi'",
    "description": "'Email: a@example.com'",
    "metadata": """'{"record_id": "bench", "name": "Nguyen Van A", "sources": ["-1"]}'""",
    "data": """'{"pancake": {"record_id": "bench", "name": "Nguyen Van A", "sources": ["-1"]}}'""",
    "evidence": """'{"phone": {"usable": ["+84900000000"]}, "assignment": {"chosen": "x"}}'""",
    "notifications": """'[{"name": "new_lead", "template_code": "noti_pancake_new_lead", "data": {}}]'""",
}
"""The expression that replaces each parameter of the handler's statements in the pgbench script."""
STATEMENTS = (
    "process_record/fence_claim",
    "process_record/lock_records",
    "process_record/lock_phones",
    "process_record/load_applied",
    "process_record/load_facts",
    "process_record/lock_roster",
    "process_record/load_roster",
    "process_record/insert_account",
    "process_record/upsert_contact",
    "process_record/insert_ticket",
    "process_record/store_roster",
    "process_record/finish_event",
)
"""The statements of one new ticket, in the order of the handler."""
CAPTURE_COMMANDS = {
    "process_record/load_facts": " \\gset s_",
    "process_record/load_roster": " LIMIT 1 \\gset r_",
}
"""pgbench keeps the row of these statements in variables that later statements use."""


def process(
    rounds: Annotated[int, typer.Option(help="Rounds; the result is the median ratio.", min=1)] = 3,
    seconds: Annotated[float, typer.Option(help="Seconds per measurement.", min=1)] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure processing with 32 clients in a closed loop, as a ratio to pgbench."""
    console = Console(stderr=True)
    ratios: list[float] = []
    with notification_sink() as hasura_url, bench_environment(hasura_url) as bench:
        _process_events(bench, WARM_UP_SECONDS)
        for number in range(1, rounds + 1):
            baseline_rate = _baseline(bench, seconds)
            cpu_seconds_before = bench.cpu_seconds()
            measurement = _process_events(bench, seconds)
            cpu_seconds = bench.cpu_seconds() - cpu_seconds_before
            ratios.append(measurement.rate / baseline_rate)
            console.print(
                f"round {number}: {measurement.rate:,.0f}/s, pgbench {baseline_rate:,.0f}/s, "
                f"ratio {ratios[-1]:.2f}"
            )
        rss_mb = bench.rss_mb()
    result: dict[str, Any] = {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "rate": round(measurement.rate),
        "baseline_rate": round(baseline_rate),
        "cpu_us_per_event": round(cpu_seconds / len(measurement.latencies_seconds) * 1e6),
        **measurement.percentiles(),
        "errors": measurement.errors,
        "rss_mb": round(rss_mb, 1),
        "machine": describe_machine(),
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        Console().print(result)


def _baseline(bench: BenchEnvironment, seconds: float) -> float:
    first = store_events(bench, int(MAX_REQUESTS_PER_SECOND * seconds))
    steps = [f"{_statement(name)}{CAPTURE_COMMANDS.get(name, ';')}" for name in STATEMENTS]
    script = "\n".join(
        [
            "\\set n :n + 1",
            f"\\set id {first} + :client_id + :n * {CONCURRENT_CLIENTS}",
            f"{_statement('process_record/claim_event')};",
            "BEGIN;",
            *steps,
            "COMMIT;",
            f"{_statement('outbox/mark_notified')};",
        ]
    )
    return pgbench(
        bench.database_url, script, clients=CONCURRENT_CLIENTS, seconds=seconds, variables={"n": "-1"}
    )


def _process_events(bench: BenchEnvironment, seconds: float) -> Measurement:
    count = int(MAX_REQUESTS_PER_SECOND * seconds)
    first = store_events(bench, count)
    url = f"{bench.handler_url}/events/process_record"
    requests = [process_request(url, event_id) for event_id in range(first, first + count)]
    return uvloop.run(closed_loop(url, iter(requests), CONCURRENT_CLIENTS, seconds))


def _statement(name: str) -> str:
    """Return a statement of the handler, with its parameters replaced by EXPRESSIONS."""
    text = QUERIES[name].decode()
    return re.sub(r"%\((\w+)\)s", lambda match: EXPRESSIONS[match[1]], text)


def store_events(bench: BenchEnvironment, count: int) -> int:
    """Store `count` received leads of new customers; return the first of their consecutive ids."""
    with psycopg.connect(bench.database_url, autocommit=True) as db_connection:
        db_connection.execute("DELETE FROM hdb_catalog.event_log")
        (first,) = db_connection.execute(
            "SELECT COALESCE(max(id), 0) + 1 FROM pancake_webhook_event"
        ).fetchone() or (1,)
        db_connection.execute(
            "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, table_name, modified_on,"
            " payload_hash, payload, status, arrived_at, source_ids, created_at)"
            " SELECT c.id, 'webhook', 'bench-' || n, 'lead', now(), sha256(n::text::bytea),"
            " jsonb_build_object('id', 'bench-' || n, 'name', 'Nguyen Van A', 'source', ARRAY['-1'],"
            " 'phone_number', '0' || (900000000 + n), 'email', 'a@example.com'),"
            " 'received', now(), ARRAY['-1'], now()"
            " FROM pancake_connection AS c, generate_series(%s::bigint, %s::bigint) AS n",
            (first, first + count - 1),
        )
        db_connection.execute("VACUUM ANALYZE pancake_webhook_event, account, ticket, contact_book")
    return int(first)


def process_request(url: str, event_id: int) -> bytes:
    body = {
        "id": f"event-{event_id}",
        "created_at": "2026-03-04T05:06:07.123456",
        "table": {"schema": "public", "name": "pancake_webhook_event"},
        "trigger": {"name": "pancake_webhook_event_status_update"},
        "delivery_info": {"current_retry": 0, "max_retries": 3},
        "event": {
            "op": "INSERT",
            "data": {"old": None, "new": {"id": event_id, "status": "received"}},
            "session_variables": None,
            "trace_context": None,
        },
    }
    return request_for(url, {"X-Handler-Secret": SECRET}, json.dumps(body).encode())
