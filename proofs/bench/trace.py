"""`scripts/bench trace`: how long `leads trace` takes to find and tell leads among many stored events."""

import random
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from leads.adapters.database import QUERIES
from leads.domain.trace import read_search, tell_stories
from leads.domain.trace_event import StoredEvent
from ops.clients.db_session import class_row, open_session
from proofs.bench.bars import print_result
from proofs.bench.commands import Meter, measure_command
from proofs.bench.environment import describe_machine
from sandbox.postgres.database import install_diva, migrate
from sandbox.postgres.server import Cluster

CONNECTION_ID = "f0000000-0000-4000-8000-000000000001"
WARM_UP_TRACES = 10

# Every fourth event is a later version of the record before it; of 100 records one has an unusable phone.
FILL = (
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
            for statement in FILL:
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
