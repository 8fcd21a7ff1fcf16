-- Claim the unsent notifications of events that are due, for the duration of a lease. The claim counts as an attempt without an
-- answer until its result is stored: a sender may die in the middle of it.
-- Returns for each event that was claimed: id, its unsent notifications, notify_claimed_at, and its attempts before this one
-- (attempts, refusals, unknowns, unsent_since, next_at, error). Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event AS e
SET
    notify_claimed_at = clock_timestamp(),
    notify_attempts = e.notify_attempts + 1,
    notify_unknowns = e.notify_unknowns + 1,
    notify_unsent_since = COALESCE(e.notify_unsent_since, %(now)s)
WHERE
    e.id = ANY (%(ids)s)
    AND e.notified_at IS NULL
    AND e.notify_given_up_at IS NULL
    -- || '[]' keeps the planner on the primary key. With the plain value it may take the index of unsent rows, and read all of them.
    AND (e.notifications || '[]') <> '[]'::jsonb
    AND (e.notify_next_at IS NULL OR e.notify_next_at <= %(now)s)
    AND (e.notify_claimed_at IS NULL OR e.notify_claimed_at < clock_timestamp() - %(lease)s::interval)
RETURNING
    e.id, public.pancake_unsent(e.notifications, e.notify_sent) AS notifications, e.notify_claimed_at,
    e.notify_attempts - 1 AS attempts, e.notify_refusals AS refusals, e.notify_unknowns - 1 AS unknowns,
    e.notify_unsent_since AS unsent_since, e.notify_next_at AS next_at, e.notify_error AS error
