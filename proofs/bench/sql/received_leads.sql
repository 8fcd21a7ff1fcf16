-- Received leads of new customers, of the sources in turn.
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, status, arrived_at,
    source_ids, created_at
)
SELECT
    c.id, 'webhook', 'bench-' || n, 'lead', now(), sha256(n::text::bytea),
    jsonb_build_object(
        'id', 'bench-' || n, 'name', 'Nguyen Van A', 'source', ARRAY[s.id],
        'phone_number', '0' || (900000000 + n), 'email', 'a@example.com'
    ),
    'received', now(), ARRAY[s.id], now()
FROM pancake_connection AS c, generate_series(%(first)s::bigint, %(last)s::bigint) AS n
INNER JOIN unnest(%(sources)s::text[]) WITH ORDINALITY AS s (id, number)
    ON s.number = 1 + n %% cardinality(%(sources)s::text[]);
