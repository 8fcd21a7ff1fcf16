-- name: outbox/list_unnotified
-- List events with unsent notifications that are due and that no sender has claimed: those that never failed, then those that have
-- waited longest since they were due.
-- Returns id, refusals and unknowns; at most `limit` of each kind. Relies on ix_pancake_webhook_event_unnotified.
(
    SELECT e.id, e.notify_refusals AS refusals, e.notify_unknowns AS unknowns
    FROM public.pancake_webhook_event AS e
    WHERE
        e.notified_at IS NULL
        AND e.notify_given_up_at IS NULL
        AND e.notifications <> '[]'::jsonb
        AND e.notify_next_at IS NULL
        AND (e.notify_claimed_at IS NULL OR e.notify_claimed_at < clock_timestamp() - %(lease)s::interval)
    -- The first column is null in all these rows. It is named because PostgreSQL then reads them in the order of the index.
    ORDER BY e.notify_next_at, e.id
    LIMIT %(limit)s
)
UNION ALL
(
    SELECT e.id, e.notify_refusals AS refusals, e.notify_unknowns AS unknowns
    FROM public.pancake_webhook_event AS e
    WHERE
        e.notified_at IS NULL
        AND e.notify_given_up_at IS NULL
        AND e.notifications <> '[]'::jsonb
        AND e.notify_next_at <= %(now)s
        AND (e.notify_claimed_at IS NULL OR e.notify_claimed_at < clock_timestamp() - %(lease)s::interval)
    ORDER BY e.notify_next_at, e.id
    LIMIT %(limit)s
)

-- name: outbox/claim_notifications
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

-- name: outbox/mark_notified
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
-- Not joined: a plan made while the table was empty could read its whole index.
WHERE
    e.id = ANY (%(ids)s::bigint[])
    AND e.notify_claimed_at = ANY (
        SELECT m.claimed_at FROM unnest(%(ids)s::bigint[], %(claimed_ats)s::timestamptz[]) AS m (id, claimed_at) WHERE m.id = e.id
    )
    AND e.notified_at IS NULL

-- name: outbox/mark_unsent
-- Record that notifications of events were not sent: when they are tried again, or that they are given up; which of them were sent.
-- Ends the claim, if it is still the newest.
-- Returns nothing. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event AS e
SET
    notify_claimed_at = NULL,
    notify_attempts = m.attempts,
    notify_refusals = m.refusals,
    notify_unknowns = m.unknowns,
    notify_unsent_since = m.unsent_since,
    notify_next_at = m.next_at,
    notify_given_up_at = m.given_up_at,
    notify_error = m.error,
    notify_sent = NULLIF(e.notify_sent || m.sent, '{}')
FROM jsonb_to_recordset(%(results)s::jsonb) AS m (
    id bigint, claimed_at timestamptz, attempts integer, refusals integer, unknowns integer, unsent_since timestamptz,
    next_at timestamptz, given_up_at timestamptz, error text, sent text[]
)
WHERE e.id = m.id AND e.notify_claimed_at = m.claimed_at AND e.notified_at IS NULL
