-- Claim a received event, or hold it if the kill switch is on or its source is inactive. Commits alone; claim_id
-- then fences the work.
-- Returns one row: paused, and the event's columns, null if there was nothing to claim.
-- Relies on pk_pancake_webhook_event, uq_pancake_source.
WITH switches AS (
    SELECT s.kill_switch, s.processing_paused AS paused
    FROM public.pancake_switch() AS s
-- MATERIALIZED: merged into the UPDATE, the search for a source would run once for each column that needs its result.
), gate AS MATERIALIZED (
    SELECT
        e.id,
        CASE
            WHEN w.kill_switch THEN 'skipped_kill_switch'
            -- A body that is not a record has no source. It is claimed, and processing reports the error.
            WHEN cardinality(e.source_ids) > 0 AND NOT EXISTS (
                SELECT FROM public.pancake_active_source(e.connection_id, e.source_ids)
            ) THEN 'skipped_source_disabled'
            ELSE 'ingested'
        END AS status
    FROM public.pancake_webhook_event AS e
    CROSS JOIN switches AS w
    WHERE e.id = %(id)s AND NOT w.paused
), claimed AS (
    UPDATE public.pancake_webhook_event AS e
    SET
        status = g.status,
        attempts = e.attempts + (g.status = 'ingested')::integer,
        next_attempt_at = NULL,
        ingested_at = CASE WHEN g.status = 'ingested' THEN clock_timestamp() ELSE e.ingested_at END,
        claim_id = CASE WHEN g.status = 'ingested' THEN gen_random_uuid() ELSE e.claim_id END
    FROM gate AS g
    -- || '' keeps the planner on the primary key. With the plain column it takes ix_pancake_webhook_event_waiting while the
    -- statistics say that nothing waits, and reads the whole backlog.
    WHERE e.id = g.id AND (e.status || '') = 'received'
    RETURNING e.*
)
SELECT
    w.paused, c.id, c.status, c.claim_id, c.connection_id, c.record_id, c.table_name, c.modified_on, c.payload::text AS payload,
    c.arrived_at, c.attempts, c.replay_count, c.created_at,
    CASE WHEN c.notified_at IS NULL THEN public.pancake_unsent(c.notifications, c.notify_sent) ELSE '[]' END AS unsent,
    -- The same rule as in kpi/load_latency.
    c.held_at IS NOT NULL OR c.replay_count > 0 AS is_apart,
    c.evidence ->> 'corrected_phone' AS corrected_phone,
    COALESCE((c.evidence ->> 'force')::boolean, false) AS force
FROM switches AS w
LEFT JOIN claimed AS c ON true
