-- Count the rows whose notifications were given up since the administrators were last told of it, or in the last day. No row if they
-- were told less than an hour ago. Notices of retry_failed are left out: they would tell of themselves for ever.
-- Returns at most one row: events, runs, until (the last time at which one was given up; null if none was).
-- Relies on ix_pancake_webhook_event_given_up, ix_pancake_cron_run_given_up and uq_pancake_cron_run_tick.
WITH told AS (
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
FROM told AS t
LEFT JOIN given_up AS g ON g.at > COALESCE(t.until, '-infinity')
WHERE t.at IS NULL OR t.at <= %(now)s::timestamptz - interval '1 hour'
HAVING count(g.at) > 0
