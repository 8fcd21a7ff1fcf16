"""`scripts/bench process`: events per second of the handler, compared with pgbench on the same statements.

Each event is the lead of a new customer: account, contact, ticket, owner from one roster, notification.
pgbench runs the handler's SQL files in the same two transactions (claim, work) and marks the notification as
sent; it spends no time on parsing, deciding and sending.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import psycopg
import typer
import uvloop
from rich.console import Console

from leads.adapters.database import QUERIES
from proofs.bench.environment import (
    SECRET,
    BenchEnvironment,
    analyze,
    bench_environment,
    describe_machine,
)
from proofs.bench.load import Measurement, closed_loop, request_for
from proofs.bench.pgbench import WARM_UP_SECONDS, pgbench
from proofs.bench.sink import notification_sink
from proofs.bench.slices import Done, figures, ratio, run_slices

CONCURRENT_CLIENTS = 32
MAX_REQUESTS_PER_SECOND = 3000
START_PIPELINE, END_PIPELINE = "\\startpipeline", "\\endpipeline"
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
    slices: Annotated[int, typer.Option(help="Slices of each, in turn.", min=1)] = 12,
    seconds: Annotated[float, typer.Option(help="Seconds per slice.", min=1)] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure processing with 32 clients in a closed loop, as a ratio to pgbench.

    Slices take turns: ours, pgbench that waits for the answer to each statement (`ratio`), and pgbench that
    sends in pipelines all statements between two whose result it needs (`pipelined_ratio`).
    """
    console = Console(stderr=True)
    total = Measurement()
    with notification_sink() as hasura_url, bench_environment(hasura_url) as bench:
        _process_events(bench, seconds, Measurement())()
        analyze(bench.database_url)
        found = run_slices(
            bench,
            {
                "ours": lambda: _process_events(bench, seconds, total),
                "pgbench": lambda: _baseline(bench, seconds, _alone()),
                "pipelined": lambda: _baseline(bench, seconds, _in_pipelines()),
            },
            slices,
            console,
        )
        rss_mb = bench.rss_mb()
    result: dict[str, Any] = {
        "slice_seconds": seconds,
        "ratio": ratio(found["ours"], found["pgbench"]),
        "pipelined_ratio": ratio(found["ours"], found["pipelined"]),
        **{name: figures(each) for name, each in found.items()},
        "latency": total.percentiles(),
        "errors": total.errors,
        "rss_mb": round(rss_mb, 1),
        "machine": describe_machine(),
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        Console().print(result)


def _baseline(bench: BenchEnvironment, seconds: float, steps: Sequence[str]) -> Callable[[], Done]:
    first = store_events(bench, int(MAX_REQUESTS_PER_SECOND * (WARM_UP_SECONDS + seconds)))
    ids = ["\\set n :n + 1", f"\\set id {first} + :client_id + :n * {CONCURRENT_CLIENTS}"]
    return pgbench(
        bench.database_url,
        "\n".join([*ids, *steps]),
        clients=CONCURRENT_CLIENTS,
        seconds=seconds,
        variables={"n": "-1"},
    )


def _alone() -> list[str]:
    """Return the steps of one event: each statement waits for the answer to the one before."""
    return [
        f"{_statement('process_record/claim_event')};",
        "BEGIN;",
        *(f"{_statement(name)}{CAPTURE_COMMANDS.get(name, ';')}" for name in STATEMENTS),
        "COMMIT;",
        f"{_statement('outbox/mark_notified')};",
    ]


def _in_pipelines() -> list[str]:
    """Return the same steps in pipelines; pgbench cannot keep the row of a statement within one."""
    claim, *work = _alone()
    steps = [claim, START_PIPELINE]
    for step in work:
        captures = "\\gset" in step
        steps += [END_PIPELINE, step, START_PIPELINE] if captures else [step]
    return [*steps, END_PIPELINE]


def _process_events(bench: BenchEnvironment, seconds: float, total: Measurement) -> Callable[[], Done]:
    """Store the events of a slice; its work adds what it measures to `total`."""
    count = int(MAX_REQUESTS_PER_SECOND * seconds)
    first = store_events(bench, count)
    url = f"{bench.handler_url}/events/process_record"
    requests = [process_request(url, event_id) for event_id in range(first, first + count)]
    return lambda: total.add(uvloop.run(closed_loop(url, iter(requests), CONCURRENT_CLIENTS, seconds)))


def _statement(name: str) -> str:
    """Return a statement of the handler, with its parameters replaced by EXPRESSIONS."""
    text = QUERIES[name].decode()
    return re.sub(r"%\((\w+)\)s", lambda match: EXPRESSIONS[match[1]], text)


def store_events(bench: BenchEnvironment, count: int, sources: Sequence[str] = ("-1",)) -> int:
    """Store `count` received leads of new customers; return the first of their ids, which follow each other.

    They are of the sources in turn.
    """
    with psycopg.connect(bench.database_url, autocommit=True) as db_connection:
        db_connection.execute("DELETE FROM hdb_catalog.event_log")
        (first,) = db_connection.execute(
            "SELECT COALESCE(max(id), 0) + 1 FROM pancake_webhook_event"
        ).fetchone() or (1,)
        db_connection.execute(
            "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, table_name, modified_on,"
            " payload_hash, payload, status, arrived_at, source_ids, created_at)"
            " SELECT c.id, 'webhook', 'bench-' || n, 'lead', now(), sha256(n::text::bytea),"
            " jsonb_build_object('id', 'bench-' || n, 'name', 'Nguyen Van A', 'source', ARRAY[s.id],"
            " 'phone_number', '0' || (900000000 + n), 'email', 'a@example.com'),"
            " 'received', now(), ARRAY[s.id], now()"
            " FROM pancake_connection AS c, generate_series(%(first)s::bigint, %(last)s::bigint) AS n"
            " INNER JOIN unnest(%(sources)s::text[]) WITH ORDINALITY AS s (id, number)"
            " ON s.number = 1 + n %% cardinality(%(sources)s::text[])",
            {"first": first, "last": first + count - 1, "sources": list(sources)},
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
