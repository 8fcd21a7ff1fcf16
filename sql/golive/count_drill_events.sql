-- Count the records of a drill by their state that were stored since a moment, by the clock of the database.
-- Returns one row: events, held (by the kill switch), processed.
-- Relies on ix_pancake_webhook_event_created_at.
SELECT
    count(*) AS events,
    count(*) FILTER (WHERE e.status = 'skipped_kill_switch') AS held,
    count(*) FILTER (WHERE e.status = 'processed') AS processed
FROM public.pancake_webhook_event AS e
WHERE e.created_at > %(since)s AND starts_with(e.record_id, %(prefix)s)
