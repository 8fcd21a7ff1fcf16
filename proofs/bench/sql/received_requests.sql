-- One more received lead of each customer: a record of its own, with products that no earlier one had.
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, status, arrived_at,
    source_ids, created_at
)
SELECT
    c.id, 'webhook', 'bench-' || %(number)s || '-' || n, 'lead', t.modified_on,
    sha256((%(number)s || '-' || n)::bytea),
    jsonb_build_object(
        'id', 'bench-' || %(number)s || '-' || n, 'name', 'Nguyen Van A', 'source', ARRAY['-1'],
        'phone_number', '0' || (900000000 + n), 'interested_product', 'Nâng mũi cấu trúc, lần ' || %(number)s,
        'utm_campaign', 'nang-mui-thang-11', 'modified_on', t.modified_on
    ),
    'received', now(), ARRAY['-1'], now()
FROM
    pancake_connection AS c,
    generate_series(1, %(customers)s::bigint) AS n,
    (SELECT date_trunc('day', now()) - interval '1 day' + %(number)s * interval '1 minute' AS modified_on) AS t;
