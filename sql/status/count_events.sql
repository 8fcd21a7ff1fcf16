-- Count the events that are not processed, by status: at most `most` of those that wait, of the failed and of the held ones.
-- Returns one row per status that has any: status, events, oldest_at (since when it waits, or arrived), late (waiting for more than
-- five minutes, or five minutes after the time of its next attempt), last_day (those that arrived in the last 24 hours).
-- Relies on ix_pancake_webhook_event_waiting, ix_pancake_webhook_event_retry and, read alone, ix_pancake_webhook_event_held.
WITH found AS (
    (
        -- As in kpi/load_success: not received_at, which each refire sets.
        SELECT e.status, greatest(e.created_at, e.replayed_at) AS since, greatest(e.created_at, e.replayed_at) AS due_at
        FROM public.pancake_webhook_event AS e
        WHERE e.status IN ('received', 'ingested')
        ORDER BY e.received_at
        LIMIT %(most)s
    )
    UNION ALL
    (
        SELECT e.status, e.created_at AS since, e.next_attempt_at AS due_at
        FROM public.pancake_webhook_event AS e
        WHERE e.status = 'failed'
        ORDER BY e.next_attempt_at
        LIMIT %(most)s
    )
    UNION ALL
    (
        SELECT e.status, e.created_at AS since, NULL AS due_at
        FROM public.pancake_webhook_event AS e
        WHERE e.status IN ('dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
        ORDER BY e.id DESC
        LIMIT %(most)s
    )
)
SELECT
    f.status,
    count(*) AS events,
    min(f.since) AS oldest_at,
    count(*) FILTER (WHERE f.due_at < %(now)s::timestamptz - interval '5 minutes') AS late,
    count(*) FILTER (WHERE f.since > %(now)s::timestamptz - interval '24 hours') AS last_day
FROM found AS f
GROUP BY f.status
