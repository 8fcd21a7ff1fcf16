-- name: cron_runs/skip_run
-- Record a skipped run, because another run of the same cron is in progress.
-- Returns one row: outcome, as it is stored for this scheduled time now. Relies on uq_pancake_cron_run_tick.
WITH inserted AS (
    INSERT INTO public.pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome)
    VALUES (%(name)s, %(scheduled_time)s, %(now)s, %(now)s, 'skipped')
    ON CONFLICT ON CONSTRAINT uq_pancake_cron_run_tick DO NOTHING
    RETURNING outcome
)
SELECT i.outcome FROM inserted AS i
UNION ALL
SELECT r.outcome FROM public.pancake_cron_run AS r
WHERE r.name = %(name)s AND r.scheduled_time = %(scheduled_time)s
LIMIT 1

-- name: cron_runs/finish_run
-- Store a run's outcome and report. Outcome 'running' saves the progress of an unfinished run.
-- Notices that an earlier delivery of the tick stored and that are not sent yet are kept: their cause may be gone.
-- Returns nothing. Relies on pk_pancake_cron_run.
UPDATE public.pancake_cron_run AS r
SET
    outcome = %(outcome)s,
    finished_at = CASE WHEN %(outcome)s <> 'running' THEN %(now)s::timestamptz END,
    report = n.report || jsonb_build_object(
        'notifications',
        CASE WHEN r.notified_at IS NULL AND r.notify_given_up_at IS NULL THEN jsonb_path_query_array(
            r.report, '$.notifications[*] ? (!(@.idempotency_key == $stored[*]))',
            jsonb_build_object('stored', jsonb_path_query_array(n.report, '$.notifications[*].idempotency_key'))
        ) ELSE '[]' END || COALESCE(n.report -> 'notifications', '[]')
    ),
    error = %(error)s,
    window_from = %(window_from)s,
    window_to = %(window_to)s
FROM (SELECT %(report)s::jsonb AS report) AS n
WHERE r.id = %(id)s

-- name: cron_runs/load_recipients
-- Load the recipients of a notice: the active administrators and managers.
-- Returns id as text and is_manager, one row per person. Reads the whole staff table of Diva, which is small.
SELECT s.id::text AS id, s.role = public.pancake_staff_role('manager') AS is_manager
FROM public.staff AS s
WHERE s.role IN (public.pancake_staff_role('admin'), public.pancake_staff_role('manager')) AND s.is_active
ORDER BY s.id

-- name: cron_runs/start_run
-- Insert a run, or take over one of the same scheduled time that has not succeeded. The caller holds the cron's lock.
-- Returns id, outcome ('running' or 'skipped'), report, started_at; no row if the run has succeeded.
-- Relies on uq_pancake_cron_run_tick. An older run of that name that is still 'running' waits for its next delivery, or its process
-- died: this one continues with its state, and it becomes 'skipped', without a state 'failed'. A run is 'skipped' if a newer one has
-- begun, or one that started when this one was due has succeeded: that one does its work. A 'skipped' one is taken over too: of two
-- deliveries of one tick the one without the lock may have stored it. A state without another one names the steps that failed last.
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
), previous AS (
    SELECT o.report -> 'failed_steps' AS failed_steps
    FROM other AS o
    WHERE o.outcome IN ('succeeded', 'failed') AND o.scheduled_time < %(scheduled_time)s
    ORDER BY o.scheduled_time DESC
    LIMIT 1
)
INSERT INTO public.pancake_cron_run AS r (name, scheduled_time, started_at, outcome, finished_at, report)
SELECT
    %(name)s, %(scheduled_time)s, %(now)s,
    CASE WHEN l.has_begun THEN 'skipped' ELSE 'running' END,
    CASE WHEN l.has_begun THEN %(now)s::timestamptz END,
    COALESCE(
        (SELECT jsonb_build_object('state', i.state) FROM inherited AS i),
        (SELECT jsonb_build_object('state', jsonb_build_object('late', p.failed_steps)) FROM previous AS p WHERE p.failed_steps IS NOT NULL),
        '{}'
    )
FROM later AS l
ON CONFLICT ON CONSTRAINT uq_pancake_cron_run_tick DO UPDATE
SET outcome = excluded.outcome, finished_at = excluded.finished_at, error = NULL
WHERE r.outcome <> 'succeeded'
RETURNING r.id, r.outcome, r.report, r.started_at
