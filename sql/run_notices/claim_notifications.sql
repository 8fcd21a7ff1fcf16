-- Claim the unsent notifications of runs that are due, for the duration of a lease. The claim counts as an attempt without an
-- answer until its result is stored: a sender may die in the middle of it.
-- Returns for each run that was claimed: id, its unsent notifications, notify_claimed_at, and its attempts before this one
-- (attempts, refusals, unknowns, unsent_since, next_at, error). Relies on pk_pancake_cron_run.
UPDATE public.pancake_cron_run AS r
SET
    notify_claimed_at = clock_timestamp(),
    notify_attempts = r.notify_attempts + 1,
    notify_unknowns = r.notify_unknowns + 1,
    notify_unsent_since = COALESCE(r.notify_unsent_since, %(now)s)
WHERE
    r.id = ANY (%(ids)s)
    AND r.notified_at IS NULL
    AND r.notify_given_up_at IS NULL
    -- || '[]' keeps the planner on the primary key. With the plain value it may take the index of unsent rows, and read all of them.
    AND (r.report -> 'notifications' || '[]') <> '[]'::jsonb
    AND (r.notify_next_at IS NULL OR r.notify_next_at <= %(now)s)
    AND (r.notify_claimed_at IS NULL OR r.notify_claimed_at < clock_timestamp() - %(lease)s::interval)
RETURNING
    r.id, r.notify_claimed_at,
    jsonb_path_query_array(
        r.report, '$.notifications[*] ? (!(@.idempotency_key == $sent[*]))', jsonb_build_object('sent', r.notify_sent)
    ) AS notifications,
    r.notify_attempts - 1 AS attempts, r.notify_refusals AS refusals, r.notify_unknowns - 1 AS unknowns,
    r.notify_unsent_since AS unsent_since, r.notify_next_at AS next_at, r.notify_error AS error
