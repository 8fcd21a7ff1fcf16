"""The rows of `scripts/bench scale`: a history of constant traffic, with customers, tickets and rosters."""

from datetime import datetime, timedelta

import psycopg

EVENTS_PER_DAY = 30_000
SOURCES = 40
TELESALES = 60
HISTORY_AGE = timedelta(days=3)
"""The newest event is as old: what the handlers do meanwhile finds the same last days at each size."""

# Every source has a roster of all telesales.
ROSTERS = (
    """
    INSERT INTO staff (full_name, role)
    SELECT 'Telesale ' || n, 'telesale'
    FROM generate_series((SELECT count(*) FROM staff AS s WHERE s.role = 'telesale') + 1, %(telesales)s) AS n
    """,
    """
    INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)
    SELECT c.id, n::text, 'Source ' || n, true
    FROM pancake_connection AS c, generate_series(1, %(sources)s) AS n
    """,
    """
    INSERT INTO pancake_assignee (source_id, staff_id)
    SELECT s.id, t.id
    FROM pancake_source AS s
    INNER JOIN staff AS t ON t.role = 'telesale'
    WHERE s.pancake_source_id <> '-1'
    """,
)
# The higher n, the older. Of four events the first creates a ticket, two change it, the last changes nothing.
HISTORY = (
    "SET session_replication_role = replica",
    # What the measured work stored: at a later size a poll and a retry would read it too.
    "DELETE FROM pancake_webhook_event WHERE origin = 'webhook' AND created_at > %(until)s",
    """
    CREATE TEMPORARY TABLE made AS
    SELECT
        n, n - n %% 4 AS record, n %% 4 = 3 AS is_first, '+84' || (100000000 + n - n %% 4) AS phone,
        (n / 4 %% %(sources)s + 1)::text AS source_id,
        %(until)s::timestamptz - n * (interval '1 day' / %(per_day)s) AS at
    FROM generate_series(%(events)s - 1, %(stored)s, -1) AS n
    """,
    """
    INSERT INTO account (id, display_name, phone_code, phone_number, normalized_phone, created_at)
    SELECT md5('a' || m.record)::uuid, 'Khách', '84', '0' || substr(m.phone, 4), m.phone, m.at
    FROM made AS m WHERE m.is_first
    """,
    """
    INSERT INTO contact_book (account_id, primary_phone)
    SELECT md5('a' || m.record)::uuid, m.phone FROM made AS m WHERE m.is_first
    """,
    """
    INSERT INTO ticket (
        id, code, title, source_id, account_id, assignee_id, status, created_at, first_response_at
    )
    SELECT
        md5('t' || m.record)::uuid, 'S' || m.record, 'Lead', 'ticket_source_pancake',
        md5('a' || m.record)::uuid, t.ids[1 + m.record / 4 %% cardinality(t.ids)], 'in_progress', m.at,
        -- Every twentieth has no answer.
        CASE WHEN m.record %% 80 <> 0 THEN m.at + interval '10 minutes' END
    FROM made AS m
    CROSS JOIN (SELECT array_agg(s.id ORDER BY s.id) AS ids FROM staff AS s WHERE s.role = 'telesale') AS t
    WHERE m.is_first
    """,
    """
    INSERT INTO pancake_webhook_event (
        connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, status, outcome,
        arrived_at, received_at, ingested_at, processed_at, notified_at, claim_id, normalized_phone,
        source_ids, account_id, ticket_id, assignee_id, evidence, created_at
    )
    SELECT
        c.id, 'webhook', 'scale-' || m.record, 'lead', m.at,
        sha256(m.n::text::bytea), jsonb_build_object('id', 'scale-' || m.record), 'processed',
        CASE m.n - m.record WHEN 3 THEN 'ticket_created' WHEN 0 THEN 'no_change' ELSE 'ticket_updated' END,
        m.at, m.at, m.at, m.at + interval '1 second', m.at, gen_random_uuid(), m.phone,
        ARRAY[m.source_id], md5('a' || m.record)::uuid, md5('t' || m.record)::uuid, t.assignee_id,
        CASE
            WHEN m.is_first THEN jsonb_build_object('assignment', jsonb_build_object('chosen', t.assignee_id))
            ELSE '{}'
        END,
        m.at
    FROM made AS m
    CROSS JOIN pancake_connection AS c
    LEFT JOIN ticket AS t ON m.is_first AND t.id = md5('t' || m.record)::uuid
    """,
    "DROP TABLE made",
    "VACUUM ANALYZE",
    "CHECKPOINT",
)  # fmt: skip


def add_rosters(database_url: str) -> None:
    """Add SOURCES sources to the one connection, with TELESALES members in the roster of each."""
    with psycopg.connect(database_url, autocommit=True) as db:
        for statement in ROSTERS:
            db.execute(statement.encode(), {"sources": SOURCES, "telesales": TELESALES})


def add_history(database_url: str, stored: int, events: int, until: datetime) -> None:
    """Add events up to a number, the newest at `until`; `stored` were added before. Both divide by four."""
    params = {
        "stored": stored, "events": events, "until": until, "per_day": EVENTS_PER_DAY, "sources": SOURCES,
    }  # fmt: skip
    with psycopg.connect(database_url, autocommit=True) as db:
        for statement in HISTORY:
            db.execute(statement.encode(), params)
