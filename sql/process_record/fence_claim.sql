-- Lock the claimed event at the start of the work transaction, and read the switches again.
-- Returns one row: switched_on and source_active (both must be true to continue); no row if the claim was lost.
-- Relies on pk_pancake_webhook_event, uq_pancake_source.
-- The rest of the transaction uses generic plans and no sequential scans. PostgreSQL would plan statements with array
-- parameters at each execution, which costs more than executing them. A generic plan made while a table is small scans it, and
-- is kept until the table is analysed.
SELECT
    NOT (SELECT w.kill_switch FROM public.pancake_switch() AS w) AS switched_on,
    cardinality(e.source_ids) = 0
        OR EXISTS (SELECT FROM public.pancake_active_source(e.connection_id, e.source_ids)) AS source_active
FROM (
    SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true)
) AS planning
CROSS JOIN public.pancake_webhook_event AS e
-- || '' keeps the planner on the primary key, as in claim_event.
WHERE e.id = %(id)s AND (e.status || '') = 'ingested' AND e.claim_id = %(claim_id)s
FOR UPDATE OF e
