-- Every source has a roster of all telesales.
INSERT INTO staff (full_name, role)
SELECT 'Telesale ' || n, 'telesale'
FROM generate_series((SELECT count(*) FROM staff AS s WHERE s.role = 'telesale') + 1, %(telesales)s) AS n;

INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)
SELECT c.id, n::text, 'Source ' || n, true
FROM pancake_connection AS c, generate_series(1, %(sources)s) AS n;

INSERT INTO pancake_assignee (source_id, staff_id)
SELECT s.id, t.id
FROM pancake_source AS s
INNER JOIN staff AS t ON t.role = 'telesale'
WHERE s.pancake_source_id <> '-1';
