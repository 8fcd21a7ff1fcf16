-- name: lost_ticks/load_notified_ticks
-- Load up to when the administrators were notified in the last day of ticks that Hasura gave up, and whether that was `every` ago.
-- Returns one row: notified_until (null if they were not), is_due. Relies on uq_pancake_cron_run_tick.
SELECT
    max((r.report -> 'lost_ticks' ->> 'until')::timestamptz) AS notified_until,
    count(*) FILTER (WHERE r.scheduled_time > %(now)s::timestamptz - %(every)s::interval) = 0 AS is_due
FROM public.pancake_cron_run AS r
WHERE
    r.name = 'retry_failed'
    AND r.scheduled_time > %(now)s::timestamptz - interval '1 day'
    AND r.report -> 'lost_ticks' ->> 'until' IS NOT NULL

-- name: lost_ticks/count_lost_ticks
-- Count the ticks of our crons that Hasura gave up in the last day: 'dead' without a call, 'error' after the last try.
-- Returns trigger_name, until (the last one's time) and not_notified (those after `notified_until`), one row per cron with any.
-- Relies on Hasura's index on status. Runs in Hasura's metadata database.
SELECT
    c.trigger_name,
    count(*) FILTER (WHERE c.scheduled_time > COALESCE(%(notified_until)s::timestamptz, '-infinity')) AS not_notified,
    max(c.scheduled_time) AS until
FROM hdb_catalog.hdb_cron_events AS c
WHERE
    c.status IN ('dead', 'error')
    AND c.trigger_name = ANY (%(triggers)s)
    AND c.scheduled_time > %(now)s::timestamptz - interval '1 day'
GROUP BY c.trigger_name
ORDER BY c.trigger_name
