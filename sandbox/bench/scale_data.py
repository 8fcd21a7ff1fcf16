"""The rows of `scripts/bench scale`: events over half a year, with their customers and tickets."""

import psycopg

# Of four events the first creates a ticket, the next two change it, and the last changes nothing.
FILL = (
    "SET session_replication_role = replica",
    """
    CREATE TEMPORARY TABLE made AS
    SELECT
        n, n - n %% 4 AS record, n %% 4 = 0 AS is_first,
        now() - interval '3 days' - (%(events)s - n) * (interval '180 days' / %(events)s) AS at
    FROM generate_series(%(stored)s, %(events)s - 1) AS n
    """,
    """
    INSERT INTO account (id, display_name, phone_code, phone_number, normalized_phone)
    SELECT md5('a' || m.n)::uuid, 'Khách', '84', '0' || (100000000 + m.n), '+84' || (100000000 + m.n)
    FROM made AS m WHERE m.is_first
    """,
    """
    INSERT INTO contact_book (account_id, primary_phone)
    SELECT md5('a' || m.n)::uuid, '+84' || (100000000 + m.n) FROM made AS m WHERE m.is_first
    """,
    """
    INSERT INTO ticket (id, code, title, source_id, account_id, assignee_id, status, created_at,
        first_response_at)
    SELECT md5('t' || m.n)::uuid, 'S' || m.n, 'Lead', 'ticket_source_pancake', md5('a' || m.n)::uuid,
        (SELECT s.id FROM staff AS s WHERE s.role = 'telesale' ORDER BY s.id LIMIT 1), 'in_progress', m.at,
        m.at + interval '10 minutes'
    FROM made AS m WHERE m.is_first
    """,
    """
    INSERT INTO pancake_webhook_event (
        connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, status, outcome,
        arrived_at, received_at, ingested_at, processed_at, notified_at, claim_id, normalized_phone,
        source_ids, account_id, ticket_id, created_at
    )
    SELECT
        (SELECT c.id FROM pancake_connection AS c), 'webhook', 'scale-' || m.record, 'lead', m.at,
        sha256(m.n::text::bytea), jsonb_build_object('id', 'scale-' || m.record), 'processed',
        CASE m.n - m.record WHEN 0 THEN 'ticket_created' WHEN 3 THEN 'no_change' ELSE 'ticket_updated' END,
        m.at, m.at, m.at, m.at, m.at, gen_random_uuid(), '+84' || (100000000 + m.record), '{-1}',
        md5('a' || m.record)::uuid, md5('t' || m.record)::uuid, m.at
    FROM made AS m
    """,
    "DROP TABLE made",
    "VACUUM ANALYZE",
    "CHECKPOINT",
)


def fill(database_url: str, stored: int, events: int) -> None:
    """Add events up to a number; `stored` were added before."""
    with psycopg.connect(database_url, autocommit=True) as db:
        for statement in FILL:
            params = {"stored": stored, "events": events} if "%(" in statement else None
            db.execute(statement.encode(), params)
