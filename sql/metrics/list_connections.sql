-- List since when each connection has its status, and when it was polled last.
-- Returns connection, status_since_at, last_poll_at (null before the first poll).
SELECT c.id::text AS connection, c.status_changed_at AS status_since_at, c.last_poll_at
FROM public.pancake_connection AS c
