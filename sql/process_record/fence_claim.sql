-- Begin the work: hold the claimed row and read the switches once more.
-- Returns one row (switched_on and source_active: may be worked on), or none if the claim is no longer ours.
-- Relies on pk_pancake_webhook_event.
SELECT
    (SELECT app_settings -> 'pancake_integration' ->> 'kill_switch' FROM public.app_setting WHERE id = 1)
        IS NOT DISTINCT FROM 'false' AS switched_on,
    cardinality(e.source_ids) = 0 OR EXISTS (
        SELECT FROM public.pancake_source AS p
        WHERE p.connection_id = e.connection_id AND p.pancake_source_id = ANY (e.source_ids) AND p.is_active
    ) AS source_active
FROM public.pancake_webhook_event AS e
WHERE e.id = %(id)s AND e.status = 'ingested' AND e.claim_id = %(claim_id)s
FOR UPDATE OF e
