-- Find the events that a replay request selects: those that can be replayed, and the first 100 of the others with the reason.
-- Returns one row: ids, refused (JSON array of {event_id, reason}), switched_on, rate_per_second.
-- Relies on pk_pancake_webhook_event, ix_pancake_webhook_event_held, ix_pancake_webhook_event_retry,
-- ix_pancake_webhook_event_created_at.
WITH found AS (
    SELECT
        e.id,
        CASE
            WHEN e.status IN ('received', 'ingested') THEN 'under_way'
            WHEN e.record_id IS NULL THEN 'no_record_id'
            WHEN e.payload IS NULL THEN 'payload_purged'
            WHEN %(corrected)s AND (e.status <> 'dead_letter' OR e.error_code <> 'invalid_phone') THEN 'not_invalid_phone'
            WHEN e.status = 'skipped_source_disabled' AND NOT EXISTS (
                SELECT FROM public.pancake_active_source(e.connection_id, e.source_ids)
            ) THEN 'source_disabled'
        END AS refusal
    FROM public.pancake_webhook_event AS e
    WHERE
        CASE WHEN %(ids)s::bigint[] IS NULL THEN e.status = ANY (%(states)s) ELSE e.id = ANY (%(ids)s::bigint[]) END
        AND (%(error_code)s::text IS NULL OR e.error_code = %(error_code)s)
        AND (%(created_from)s::timestamptz IS NULL OR e.created_at >= %(created_from)s)
        AND (%(created_to)s::timestamptz IS NULL OR e.created_at < %(created_to)s)
        AND (%(source_id)s::text IS NULL OR EXISTS (
            SELECT FROM public.pancake_source AS p
            WHERE
                p.connection_id = e.connection_id
                AND p.pancake_source_id = ANY (e.source_ids)
                AND %(source_id)s IN (p.id::text, p.pancake_source_id)
        ))
    ORDER BY e.id
    LIMIT %(most)s
)
SELECT
    ARRAY(SELECT f.id FROM found AS f WHERE f.refusal IS NULL ORDER BY f.id) AS ids,
    (
        SELECT COALESCE(jsonb_agg(jsonb_build_object('event_id', r.id, 'reason', r.refusal) ORDER BY r.id), '[]')
        FROM (SELECT f.id, f.refusal FROM found AS f WHERE f.refusal IS NOT NULL ORDER BY f.id LIMIT 100) AS r
    ) AS refused,
    NOT (SELECT w.kill_switch FROM public.pancake_switch() AS w) AS switched_on,
    (SELECT s.replay_rate_per_second FROM public.pancake_setting() AS s) AS rate_per_second
