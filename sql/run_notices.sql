-- name: run_notices/list_unnotified
-- List runs with unsent notices that are due and that no sender has claimed: those that never failed, then those that have waited
-- longest since they were due.
-- Returns id, refusals and unknowns; at most `limit` of each kind. Relies on ix_pancake_cron_run_unnotified.
(
    SELECT r.id, r.notify_refusals AS refusals, r.notify_unknowns AS unknowns
    FROM public.pancake_cron_run AS r
    WHERE
        r.notified_at IS NULL
        AND r.notify_given_up_at IS NULL
        AND r.report -> 'notifications' <> '[]'::jsonb
        AND r.notify_next_at IS NULL
        AND (r.notify_claimed_at IS NULL OR r.notify_claimed_at < clock_timestamp() - %(lease)s::interval)
    -- The first column is null in all these rows. It is named because PostgreSQL then reads them in the order of the index.
    ORDER BY r.notify_next_at, r.id
    LIMIT %(limit)s
)
UNION ALL
(
    SELECT r.id, r.notify_refusals AS refusals, r.notify_unknowns AS unknowns
    FROM public.pancake_cron_run AS r
    WHERE
        r.notified_at IS NULL
        AND r.notify_given_up_at IS NULL
        AND r.report -> 'notifications' <> '[]'::jsonb
        AND r.notify_next_at <= %(now)s
        AND (r.notify_claimed_at IS NULL OR r.notify_claimed_at < clock_timestamp() - %(lease)s::interval)
    ORDER BY r.notify_next_at, r.id
    LIMIT %(limit)s
)

-- name: run_notices/claim_notifications
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

-- name: run_notices/mark_notified
-- Record that the notifications of runs were accepted, if the claim under which they were sent is still the newest.
-- Returns nothing. Relies on pk_pancake_cron_run.
UPDATE public.pancake_cron_run AS r
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
WHERE r.id = m.id AND r.notify_claimed_at = m.claimed_at AND r.notified_at IS NULL

-- name: run_notices/mark_unsent
-- Record that notifications of runs were not sent: when they are tried again, or that they are given up; which of them were sent.
-- Ends the claim, if it is still the newest.
-- Returns nothing. Relies on pk_pancake_cron_run.
UPDATE public.pancake_cron_run AS r
SET
    notify_claimed_at = NULL,
    notify_attempts = m.attempts,
    notify_refusals = m.refusals,
    notify_unknowns = m.unknowns,
    notify_unsent_since = m.unsent_since,
    notify_next_at = m.next_at,
    notify_given_up_at = m.given_up_at,
    notify_error = m.error,
    notify_sent = NULLIF(r.notify_sent || m.sent, '{}')
FROM jsonb_to_recordset(%(results)s::jsonb) AS m (
    id bigint, claimed_at timestamptz, attempts integer, refusals integer, unknowns integer, unsent_since timestamptz,
    next_at timestamptz, given_up_at timestamptz, error text, sent text[]
)
WHERE r.id = m.id AND r.notify_claimed_at = m.claimed_at AND r.notified_at IS NULL
