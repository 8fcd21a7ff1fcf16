-- What we have stored of some records; the body only where times cannot decide (whole names records listed without one).
-- Returns record_id, modified_on, status, error_code, payload. Relies on uq_pancake_webhook_event_identity: looked up
-- record by record (OFFSET 0 keeps it so), since a generic plan for = ANY compares every row with every record.
SELECT e.record_id, e.modified_on, e.status, e.error_code, e.payload
FROM unnest(%(record_ids)s::text[]) AS r (record_id)
CROSS JOIN LATERAL (
    SELECT
        v.record_id, v.modified_on, v.status, v.error_code,
        CASE WHEN v.modified_on IS NULL OR v.record_id = ANY (%(whole)s) THEN v.payload::text END AS payload
    FROM public.pancake_webhook_event AS v
    WHERE
        v.record_id = r.record_id
        AND v.connection_id = %(connection_id)s
        -- A held row whose body was emptied stands for nothing once its hold has ended: the lead may come again.
        AND NOT (
            v.status IN ('skipped_kill_switch', 'skipped_source_disabled')
            AND v.payload IS NULL
            AND v.raw IS NULL
            AND (SELECT app_settings -> 'pancake_integration' ->> 'kill_switch' FROM public.app_setting WHERE id = 1)
                IS NOT DISTINCT FROM 'false'
            AND EXISTS (
                SELECT FROM public.pancake_source AS p
                WHERE p.connection_id = v.connection_id AND p.pancake_source_id = ANY (v.source_ids) AND p.is_active
            )
        )
    OFFSET 0
) AS e
ORDER BY e.record_id, e.modified_on
