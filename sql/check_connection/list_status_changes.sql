-- List the changes of a connection's status that `leads connection` made in the last 7 days, and that no admin was notified of.
-- Returns one row for each, the oldest first: id (of the run), connection_id, name, before, after, reason.
-- Relies on uq_pancake_cron_run_tick.
SELECT
    r.id, c ->> 'connection_id' AS connection_id, c ->> 'name' AS name, c ->> 'before' AS before, c ->> 'after' AS after,
    c ->> 'reason' AS reason
FROM public.pancake_cron_run AS r
CROSS JOIN LATERAL jsonb_array_elements(r.report -> 'connections') AS c
WHERE
    r.name = 'connection_status'
    AND r.scheduled_time > %(now)s::timestamptz - interval '7 days'
    AND NOT r.report ? 'notified_at'
ORDER BY r.scheduled_time
