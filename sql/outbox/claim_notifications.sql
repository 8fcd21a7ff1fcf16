-- Claim the unsent notifications of events for the duration of a lease.
-- Returns id, notifications and notify_claimed_at of each event that was not claimed. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event AS e
SET notify_claimed_at = clock_timestamp()
WHERE
    e.id = ANY (%(ids)s)
    AND e.notified_at IS NULL
    AND e.notifications <> '[]'::jsonb
    AND (e.notify_claimed_at IS NULL OR e.notify_claimed_at < clock_timestamp() - %(lease)s::interval)
RETURNING e.id, e.notifications, e.notify_claimed_at
