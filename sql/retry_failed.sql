-- name: retry_failed/release_failed
-- Set failed events whose next attempt is due to received, unless processing is paused: the connections in turn, of each the oldest
-- first, as far as 20 times the limit reaches.
-- Returns id. Relies on ix_pancake_webhook_event_retry.
WITH turn AS MATERIALIZED (
    SELECT d.id, row_number() OVER (PARTITION BY d.connection_id ORDER BY d.next_attempt_at, d.id) AS place
    FROM (
        SELECT w.id, w.connection_id, w.next_attempt_at
        FROM public.pancake_webhook_event AS w
        WHERE w.status = 'failed' AND w.next_attempt_at <= %(now)s
        ORDER BY w.next_attempt_at
        LIMIT 20 * %(limit)s
    ) AS d
)
UPDATE public.pancake_webhook_event AS e
SET status = 'received', next_attempt_at = NULL
WHERE
    e.id IN (
        SELECT f.id
        FROM turn AS t
        JOIN public.pancake_webhook_event AS f ON f.id = t.id
        WHERE (f.status || '') = 'failed' AND f.next_attempt_at <= %(now)s
        ORDER BY t.place, f.next_attempt_at
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    )
    AND NOT (SELECT w.processing_paused FROM public.view_pancake_setting AS w)
RETURNING e.id

-- name: retry_failed/release_claims
-- Set events whose claim expired (their handler died) to received, or to dead_letter after the last attempt.
-- Returns id and status. Uses the clock of the database. Relies on ix_pancake_webhook_event_waiting.
UPDATE public.pancake_webhook_event AS e
SET
    status = CASE WHEN e.attempts < %(max_attempts)s THEN 'received' ELSE 'dead_letter' END,
    error_code = CASE WHEN e.attempts < %(max_attempts)s THEN e.error_code ELSE 'claim_expired' END,
    error_detail = CASE WHEN e.attempts < %(max_attempts)s THEN e.error_detail ELSE 'The handler stopped before finishing each attempt.' END
WHERE
    e.id IN (
        SELECT c.id
        FROM public.pancake_webhook_event AS c
        WHERE c.status = 'ingested' AND c.ingested_at < clock_timestamp() - %(lease)s::interval
        ORDER BY c.received_at
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    )
    AND NOT (SELECT w.processing_paused FROM public.view_pancake_setting AS w)
RETURNING e.id, e.status

-- name: retry_failed/unlock_events
-- Unlock Hasura's events of received rows that have been locked for longer than `lease`, unless processing is paused: the engine that
-- locked them died. They are the oldest without a lock then, and Hasura delivers them next.
-- Returns one row: unlocked (number of events). Relies on pancake_unlock_events, which relies on Hasura's partial index on pending
-- events and on the primary key of the rows. At most 10,000, more than engines can have locked: refire_received, which follows, fires
-- the rows of those that are still locked, and their new events come at the end of Hasura's queue.
SELECT CASE WHEN w.processing_paused THEN 0 ELSE public.pancake_unlock_events(%(lease)s, 10000) END AS unlocked
FROM public.view_pancake_setting AS w

-- name: retry_failed/refire_received
-- Fire the event trigger again for received events that have no pending Hasura event, by setting status to received again.
-- Limits: not while paused; not within `lease`; not while Hasura has an event for the row that is unlocked, as unlock_events leaves
-- it, or was locked within `lease`. The connections in turn, of each the oldest first, as far as 20 times the limit reaches.
-- Returns id. Relies on ix_pancake_webhook_event_waiting; pancake_pending_event_ids on Hasura's partial index on pending events.
WITH turn AS MATERIALIZED (
    SELECT w.id, row_number() OVER (PARTITION BY w.connection_id ORDER BY w.received_at, w.id) AS place
    FROM (
        SELECT r.id, r.connection_id, r.received_at
        FROM public.pancake_webhook_event AS r
        WHERE
            r.status = 'received'
            -- NOT IN is always a look-up in a hash table. For NOT EXISTS the planner may choose a nested loop: it expects 1,000 pending
            -- events, and few received ones.
            AND r.id NOT IN (SELECT p.id FROM public.pancake_pending_event_ids(%(lease)s) AS p (id) WHERE p.id IS NOT NULL)
        ORDER BY r.received_at
        LIMIT 20 * %(limit)s
    ) AS w
)
UPDATE public.pancake_webhook_event AS e
SET status = 'received'
WHERE
    e.id IN (
        SELECT r.id
        FROM turn AS t
        JOIN public.pancake_webhook_event AS r ON r.id = t.id
        WHERE
            (r.status || '') = 'received'
            AND r.received_at < clock_timestamp() - %(lease)s::interval
        ORDER BY t.place, r.received_at
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    )
    AND NOT (SELECT w.processing_paused FROM public.view_pancake_setting AS w)
RETURNING e.id

-- name: retry_failed/count_given_up
-- Count the rows whose notifications were given up since the administrators were last notified of it, or in the last day. No row if
-- that was less than `every` ago. Notices of retry_failed are left out: they would be about themselves for ever.
-- Returns at most one row: events, runs, until (the last time at which one was given up; null if none was).
-- Relies on ix_pancake_webhook_event_given_up, ix_pancake_cron_run_given_up and uq_pancake_cron_run_tick.
WITH notified AS (
    SELECT max(r.scheduled_time) AS at, max((r.report -> 'given_up' ->> 'until')::timestamptz) AS until
    FROM public.pancake_cron_run AS r
    WHERE
        r.name = 'retry_failed'
        AND r.scheduled_time > %(now)s::timestamptz - interval '1 day'
        AND r.report -> 'given_up' ->> 'until' IS NOT NULL
), given_up AS (
    SELECT 'event' AS kind, e.notify_given_up_at AS at
    FROM public.pancake_webhook_event AS e
    WHERE e.notify_given_up_at > %(now)s::timestamptz - interval '1 day'
    UNION ALL
    SELECT 'run' AS kind, r.notify_given_up_at AS at
    FROM public.pancake_cron_run AS r
    WHERE r.notify_given_up_at > %(now)s::timestamptz - interval '1 day' AND r.name <> 'retry_failed'
)
SELECT
    count(*) FILTER (WHERE g.kind = 'event') AS events,
    count(*) FILTER (WHERE g.kind = 'run') AS runs,
    max(g.at) AS until
FROM notified AS n
LEFT JOIN given_up AS g ON g.at > COALESCE(n.until, '-infinity')
WHERE n.at IS NULL OR n.at <= %(now)s::timestamptz - %(every)s::interval
HAVING count(g.at) > 0
