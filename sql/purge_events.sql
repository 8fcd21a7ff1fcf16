-- name: purge_events/load_retention
-- Load the retention periods, and how far the previous purge came: up to where it emptied bodies, and when it started.
-- Returns one row: payload_days, held_days, run_days, log_days; emptied_to, held_emptied_to, started_at, null before the first purge.
-- Relies on uq_pancake_cron_run_tick.
SELECT
    s.payload_retention_days AS payload_days,
    s.held_retention_days AS held_days,
    s.cron_run_retention_days AS run_days,
    s.engine_log_retention_days AS log_days,
    p.emptied_to,
    p.held_emptied_to,
    p.started_at
FROM public.view_pancake_setting AS s
LEFT JOIN (
    SELECT
        (r.report ->> 'emptied_to')::timestamptz AS emptied_to,
        (r.report ->> 'held_emptied_to')::timestamptz AS held_emptied_to,
        r.started_at
    FROM public.pancake_cron_run AS r
    WHERE r.name = 'purge_events' AND r.outcome = 'succeeded'
    ORDER BY r.scheduled_time DESC
    LIMIT 1
) AS p ON true

-- name: purge_events/empty_payloads
-- Empty everything personal of one batch of events of some statuses, by the time when they were stored.
-- Returns one row: changed. Relies on ix_pancake_webhook_event_created_at.
SELECT public.pancake_empty_events(ARRAY(
    SELECT o.id
    FROM public.pancake_webhook_event AS o
    WHERE
        o.created_at >= %(since)s AND o.created_at < %(before)s
        AND o.status = ANY (%(statuses)s)
        AND (o.payload IS NOT NULL OR o.raw IS NOT NULL)
    ORDER BY o.created_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)) AS changed

-- name: purge_events/empty_replayed
-- Empty everything personal of one batch of old events that were processed late, because they were replayed: empty_payloads passed
-- them over while they were held.
-- Returns one row: changed. Relies on ix_pancake_webhook_event_replayed.
SELECT public.pancake_empty_events(ARRAY(
    SELECT o.id
    FROM public.pancake_webhook_event AS o
    WHERE
        o.replayed_at >= %(replayed_since)s
        AND o.created_at < %(before)s
        AND o.status = 'processed'
        AND (o.payload IS NOT NULL OR o.raw IS NOT NULL)
    ORDER BY o.replayed_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)) AS changed

-- name: purge_events/empty_leftovers
-- Empty one batch of old events whose body was emptied before and which have personal data again: a notification that was sent since,
-- or the corrected phone of a replay.
-- Returns one row: changed. Relies on ix_pancake_webhook_event_leftover.
SELECT public.pancake_empty_events(ARRAY(
    SELECT o.id
    FROM public.pancake_webhook_event AS o
    WHERE
        o.payload IS NULL AND o.raw IS NULL
        AND (o.normalized_phone IS NOT NULL OR o.notifications <> '[]'::jsonb OR o.evidence ? 'corrected_phone')
        AND o.created_at < %(before)s
        AND o.status = ANY (%(statuses)s)
        AND (o.notifications = '[]'::jsonb OR o.notified_at IS NOT NULL OR o.notify_given_up_at IS NOT NULL)
    ORDER BY o.id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)) AS changed

-- name: purge_events/delete_runs
-- Delete one batch of old runs.
-- Returns one row: changed. Relies on uq_pancake_cron_run_tick.
WITH deleted AS (
    DELETE FROM public.pancake_cron_run AS r
    WHERE r.id IN (
        SELECT o.id
        FROM unnest(%(names)s::text[]) AS n (name)
        CROSS JOIN LATERAL (
            SELECT c.id
            FROM public.pancake_cron_run AS c
            WHERE c.name = n.name AND c.scheduled_time < %(before)s AND c.outcome <> 'running'
            ORDER BY c.scheduled_time
            LIMIT %(limit)s
        ) AS o
        LIMIT %(limit)s
    )
    RETURNING r.id
)
SELECT count(*) AS changed FROM deleted

-- name: purge_events/delete_event_logs
-- Delete one batch of Hasura's old finished events of our event trigger, with their invocation logs. Hasura's open-source
-- edition does not clean up its event logs.
-- Returns one row: changed (number of events). Relies on pancake_delete_event_logs; runs in the source database.
SELECT public.pancake_delete_event_logs(%(before)s, %(limit)s) AS changed

-- name: purge_events/count_event_logs
-- Count the new events that Hasura's log has of each of the last three days. It reads the log, and takes longest.
-- Returns one row: engine_log, null without the log. Relies on pancake_count_event_logs; runs in the source database.
SELECT public.pancake_count_event_logs(%(now)s) AS engine_log

-- name: purge_events/delete_cron_events
-- Delete one batch of Hasura's old finished events of our cron triggers, with their invocation logs.
-- Returns one row: changed (number of cron events). Runs in Hasura's metadata database.
WITH deleted AS (
    DELETE FROM hdb_catalog.hdb_cron_events AS c
    WHERE c.id IN (
        SELECT o.id
        FROM hdb_catalog.hdb_cron_events AS o
        WHERE
            o.trigger_name = ANY (%(triggers)s)
            AND o.scheduled_time < %(before)s
            AND o.status IN ('delivered', 'error', 'dead')
        LIMIT %(limit)s
    )
    RETURNING c.id
), logs AS (
    DELETE FROM hdb_catalog.hdb_cron_event_invocation_logs AS i WHERE i.event_id IN (SELECT d.id FROM deleted AS d)
)
SELECT count(*) AS changed FROM deleted
