-- Claim a received event, or hold it if its switch is off now. Commits alone; claim_id fences the work that follows.
-- Returns one row: paused, and the event's columns, null when there was nothing to claim.
-- Relies on pk_pancake_webhook_event, uq_pancake_source.
WITH switches AS (
    SELECT
        (SELECT app_settings -> 'pancake_integration' ->> 'kill_switch' FROM public.app_setting WHERE id = 1)
            IS DISTINCT FROM 'false' AS kill_switch,
        (SELECT app_settings -> 'pancake_integration' ->> 'processing_paused' FROM public.app_setting WHERE id = 1)
            IS NOT DISTINCT FROM 'true' AS paused
), gate AS (
    SELECT
        e.id,
        CASE
            WHEN w.kill_switch THEN 'skipped_kill_switch'
            -- A body that was no record has no source; processing it says so.
            WHEN cardinality(e.source_ids) > 0 AND NOT EXISTS (
                SELECT FROM public.pancake_source AS p
                WHERE p.connection_id = e.connection_id AND p.pancake_source_id = ANY (e.source_ids) AND p.is_active
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
    WHERE e.id = g.id AND e.status = 'received'
    RETURNING e.*
)
SELECT
    w.paused, c.id, c.status, c.claim_id, c.record_id, c.table_name, c.modified_on, c.payload::text AS payload,
    c.attempts, c.replay_count, c.created_at, CASE WHEN c.notified_at IS NULL THEN c.notifications ELSE '[]' END AS unsent,
    c.evidence ->> 'corrected_phone' AS corrected_phone,
    COALESCE((c.evidence ->> 'force')::boolean, false) AS force
FROM switches AS w
LEFT JOIN claimed AS c ON true
