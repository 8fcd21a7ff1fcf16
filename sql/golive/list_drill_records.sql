-- List the records of a drill as they are stored; `prefix` begins their ids.
-- Returns one row per record: record_id, events, is_processed, tickets.
-- Relies on nothing: it reads the whole tables of events and tickets, in staging.
WITH stored AS (
    SELECT e.record_id, count(*) AS events, bool_and(e.status = 'processed') AS is_processed
    FROM public.pancake_webhook_event AS e
    WHERE starts_with(e.record_id, %(prefix)s)
    GROUP BY e.record_id
), made AS (
    SELECT t.data #>> '{pancake,record_id}' AS record_id, count(*) AS tickets
    FROM public.ticket AS t
    WHERE starts_with(t.data #>> '{pancake,record_id}', %(prefix)s)
    GROUP BY 1
)
SELECT s.record_id, s.events, s.is_processed, COALESCE(m.tickets, 0) AS tickets
FROM stored AS s
LEFT JOIN made AS m ON m.record_id = s.record_id
