-- Insert 1,000 events as the handlers store them; the caller undoes it. Without a connection nothing is inserted.
-- Returns nothing. Relies on pancake_connection.
INSERT INTO public.pancake_webhook_event (connection_id, origin, record_id, modified_on, payload_hash, payload, status, arrived_at, created_at)
SELECT c.id, 'webhook', 'golive-' || n, now(), sha256(('golive-' || n)::bytea), '{"id": "golive"}', 'received', now(), now()
FROM (SELECT p.id FROM public.pancake_connection AS p LIMIT 1) AS c
CROSS JOIN generate_series(1, 1000) AS n
