-- Count the events of the last hour by source. An event that names several counts for each.
-- Returns connection, source, events: one row for each active source, and one for each connection with the source `other`.
-- Relies on ix_pancake_webhook_event_created_at.
WITH named AS (
    SELECT e.connection_id, n.source_id
    FROM public.pancake_webhook_event AS e
    CROSS JOIN LATERAL unnest(CASE WHEN e.source_ids = '{}' THEN ARRAY['(none)'] ELSE e.source_ids END) AS n (source_id)
    WHERE e.created_at > %(now)s::timestamptz - interval '1 hour'
), active AS (
    SELECT s.connection_id, s.pancake_source_id AS source FROM public.pancake_source AS s WHERE s.is_active
    UNION
    SELECT c.id, 'other' FROM public.pancake_connection AS c
), counted AS (
    SELECT n.connection_id, coalesce(s.pancake_source_id, 'other') AS source, count(*) AS events
    FROM named AS n
    LEFT JOIN public.pancake_source AS s
        ON s.connection_id = n.connection_id AND s.pancake_source_id = n.source_id AND s.is_active
    GROUP BY n.connection_id, coalesce(s.pancake_source_id, 'other')
)
SELECT a.connection_id::text AS connection, a.source, coalesce(c.events, 0) AS events
FROM active AS a
LEFT JOIN counted AS c USING (connection_id, source)
