-- Record that the notifications of events were accepted, if the claim under which they were sent is still the newest.
-- Returns nothing. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event AS e
SET notified_at = %(now)s
FROM unnest(%(ids)s::bigint[], %(claimed_ats)s::timestamptz[]) AS m (id, claimed_at)
WHERE e.id = m.id AND e.notify_claimed_at = m.claimed_at AND e.notified_at IS NULL
