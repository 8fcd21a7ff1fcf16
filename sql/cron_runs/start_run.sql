-- Insert a run, or take over one of the same scheduled time that has not succeeded. The caller holds the cron's lock.
-- Returns id, outcome ('running' or 'skipped'), report, started_at; no row if the run has succeeded.
-- Relies on uq_pancake_cron_run_tick. An older run of that name that is still 'running' waits for its next delivery, or its process
-- died: this one continues with its state, and it becomes 'skipped', without a state 'failed'. A run is 'skipped' if a newer one has
-- begun, or one that started when this one was due has succeeded: that one does its work. A 'skipped' one is taken over too: of two
-- deliveries of one tick the one without the lock may have stored it.
WITH other AS (
    SELECT r.id, r.scheduled_time, r.started_at, r.outcome, r.report
    FROM public.pancake_cron_run AS r
    WHERE
        r.name = %(name)s
        AND r.scheduled_time > %(scheduled_time)s::timestamptz - interval '1 day'
        AND r.scheduled_time <> %(scheduled_time)s
), later AS (
    SELECT count(*) > 0 AS has_begun
    FROM other AS o
    WHERE
        (o.started_at >= %(scheduled_time)s AND o.outcome = 'succeeded')
        OR (o.scheduled_time > %(scheduled_time)s AND o.outcome <> 'skipped')
), unfinished AS (
    SELECT o.id, o.scheduled_time, o.report -> 'state' AS state
    FROM other AS o
    CROSS JOIN later AS l
    WHERE o.outcome = 'running' AND o.scheduled_time < %(scheduled_time)s AND NOT l.has_begun
), continued AS (
    UPDATE public.pancake_cron_run AS r
    SET
        outcome = CASE WHEN u.state IS NULL THEN 'failed' ELSE 'skipped' END,
        error = CASE WHEN u.state IS NULL THEN 'interrupted' END,
        finished_at = %(now)s,
        report = r.report - 'state'
    FROM unfinished AS u
    WHERE r.id = u.id
), inherited AS (
    SELECT u.state
    FROM unfinished AS u
    -- What was read an hour ago may have changed since.
    WHERE u.state IS NOT NULL AND u.scheduled_time > %(scheduled_time)s::timestamptz - interval '1 hour'
    ORDER BY u.scheduled_time DESC
    LIMIT 1
)
INSERT INTO public.pancake_cron_run AS r (name, scheduled_time, started_at, outcome, finished_at, report)
SELECT
    %(name)s, %(scheduled_time)s, %(now)s,
    CASE WHEN l.has_begun THEN 'skipped' ELSE 'running' END,
    CASE WHEN l.has_begun THEN %(now)s::timestamptz END,
    COALESCE((SELECT jsonb_build_object('state', i.state) FROM inherited AS i), '{}')
FROM later AS l
ON CONFLICT ON CONSTRAINT uq_pancake_cron_run_tick DO UPDATE
SET outcome = excluded.outcome, finished_at = excluded.finished_at, error = NULL
WHERE r.outcome <> 'succeeded'
RETURNING r.id, r.outcome, r.report, r.started_at
