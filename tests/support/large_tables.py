"""Tables as large as the plans of our statements are checked on."""

from typing import Any

import psycopg

CONNECTION = (
    "INSERT INTO pancake_connection (id, name, workspace_id, token_sha256)"
    " VALUES ('00000000-0000-4000-8000-000000000001', 'filled', 1, decode(repeat('ab', 32), 'hex'))"
    " ON CONFLICT DO NOTHING"
)
FILL = (
    "SET session_replication_role = replica",
    CONNECTION,
    "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
    " SELECT '00000000-0000-4000-8000-000000000001', n::text, n::text, true FROM generate_series(1, 40) AS n",
    "INSERT INTO account (id, phone_code, phone_number, normalized_phone)"
    " SELECT md5('a' || n)::uuid, '84', '0' || (900000000 + n),"
    " CASE WHEN n % 2 = 0 THEN '+84' || (900000000 + n) END FROM generate_series(1, 100000) AS n",
    "INSERT INTO contact_book (account_id, primary_phone)"
    " SELECT md5('a' || n)::uuid, '+84' || (900000000 + n) FROM generate_series(1, 50000) AS n",
    "INSERT INTO ticket (id, title, source_id, account_id, status)"
    " SELECT md5('t' || n)::uuid, 'x', 'ticket_source_pancake', md5('a' || n)::uuid,"
    " CASE WHEN n % 10 = 0 THEN 'new' ELSE 'done' END FROM generate_series(1, 50000) AS n",
    "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, modified_on, payload_hash, payload,"
    " status, error_code, next_attempt_at, outcome, arrived_at, received_at, processed_at, notified_at,"
    " normalized_phone, source_ids, ticket_id, claim_id, ingested_at, created_at)"
    " SELECT '00000000-0000-4000-8000-000000000001', 'webhook', 'r-' || n % 60000,"
    " timestamptz '2026-01-01Z' + n * interval '1 minute', sha256(n::text::bytea), '{}', s.status,"
    " CASE WHEN s.status IN ('failed', 'dead_letter') THEN 'internal' END,"
    " CASE WHEN s.status = 'failed' THEN now() END,"
    " CASE WHEN s.status = 'processed' THEN 'ticket_created' END,"
    " t.at, t.at, CASE WHEN s.status = 'processed' THEN t.at END, t.at, '+84' || (900000000 + n), '{5}',"
    " md5('t' || n)::uuid, gen_random_uuid(), t.at, t.at"
    " FROM generate_series(1, 100000) AS n"
    " CROSS JOIN LATERAL (SELECT timestamptz '2026-01-01Z' + n * interval '1 minute' AS at) AS t"
    " CROSS JOIN LATERAL (SELECT CASE WHEN n % 500 = 0 THEN 'failed' WHEN n % 501 = 0 THEN 'received'"
    " WHEN n % 700 = 0 THEN 'dead_letter' WHEN n % 900 = 0 THEN 'ingested' ELSE 'processed'"
    " END AS status) AS s",
    "ANALYZE account, contact_book, ticket, pancake_webhook_event, pancake_source, pancake_connection",
)


def fill_tables(db_connection: psycopg.Connection) -> None:
    """Insert 100,000 accounts, 50,000 contacts, 50,000 tickets and 100,000 events, and analyse the tables.

    Half of the accounts are not normalised yet.
    """
    for statement in FILL:
        db_connection.execute(statement.encode())


def insert_events(db_connection: psycopg.Connection[Any], status: str, count: int) -> None:
    """Insert events of one status, with a body, without firing triggers or analysing the table."""
    db_connection.execute("SET session_replication_role = replica")
    db_connection.execute(CONNECTION)
    db_connection.execute(
        "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, modified_on, payload_hash,"
        " payload, status, error_code, next_attempt_at, outcome, arrived_at, received_at, ingested_at,"
        " processed_at, claim_id, source_ids, created_at)"
        " SELECT '00000000-0000-4000-8000-000000000001', 'webhook', %(status)s || n, now(),"
        " sha256(n::text::bytea), '{\"id\": 1}', %(status)s, 'internal', now(), 'ticket_created',"
        " now(), now(), now(), now(), gen_random_uuid(), '{5}', now()"
        " FROM generate_series(1, %(count)s) AS n",
        {"status": status, "count": count},
    )
    db_connection.execute("RESET session_replication_role")
