-- Which layer brought the records that were first seen by us with a version of the day: the webhook's loss as a figure.
-- Returns origin and records. Relies on ix_pancake_webhook_event_created_at, uq_pancake_webhook_event_identity.
SELECT e.origin, count(*) AS records
FROM public.pancake_webhook_event AS e
WHERE
    e.connection_id = %(connection_id)s
    AND e.created_at >= %(window_from)s::timestamptz - interval '1 hour'
    AND e.modified_on BETWEEN %(window_from)s AND %(window_to)s
    AND NOT EXISTS (
        SELECT FROM public.pancake_webhook_event AS f WHERE f.record_id = e.record_id AND f.id < e.id
    )
GROUP BY e.origin
ORDER BY e.origin
