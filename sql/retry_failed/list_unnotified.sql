-- List events with unsent notifications that no sender has claimed.
-- Returns id, lowest first. Relies on ix_pancake_webhook_event_unnotified.
SELECT e.id
FROM public.pancake_webhook_event AS e
WHERE
    e.notified_at IS NULL
    AND e.notifications <> '[]'::jsonb
    AND (e.notify_claimed_at IS NULL OR e.notify_claimed_at < clock_timestamp() - %(lease)s::interval)
ORDER BY e.id
LIMIT %(limit)s
