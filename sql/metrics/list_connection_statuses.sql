-- List which status each connection has.
-- Returns connection, status, has_status: one row for each connection and each possible status.
SELECT c.id::text AS connection, s.status, c.status = s.status AS has_status
FROM public.pancake_connection AS c
CROSS JOIN unnest(ARRAY['active', 'silent', 'suspended', 'outage', 'key_invalid', 'disabled']) AS s (status)
