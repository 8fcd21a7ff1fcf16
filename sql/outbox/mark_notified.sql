-- Record that the notifications of events were accepted, if the claim under which they were sent is still the newest.
-- Returns nothing. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event AS e
SET
    notified_at = %(now)s,
    notify_attempts = 0,
    notify_refusals = 0,
    notify_unknowns = 0,
    notify_unsent_since = NULL,
    notify_next_at = NULL,
    notify_given_up_at = NULL,
    notify_error = NULL,
    notify_sent = NULL
FROM unnest(%(ids)s::bigint[], %(claimed_ats)s::timestamptz[]) AS m (id, claimed_at)
WHERE e.id = m.id AND e.notify_claimed_at = m.claimed_at AND e.notified_at IS NULL
