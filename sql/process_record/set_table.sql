-- Store the table that was found for a claimed event, or note in its evidence that it is not known.
-- Returns nothing; changes nothing if the claim was lost. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event
SET
    table_name = %(table_name)s,
    evidence = (evidence - 'notes') || CASE
        WHEN %(table_name)s::text IS NULL THEN jsonb_build_object(
            'notes', (coalesce(evidence -> 'notes', '[]') - 'table_unknown') || '["table_unknown"]'::jsonb
        )
        WHEN coalesce(evidence -> 'notes', '[]') - 'table_unknown' = '[]' THEN '{}'
        ELSE jsonb_build_object('notes', (evidence -> 'notes') - 'table_unknown')
    END
-- || '' keeps the planner on the primary key, as in claim_event.
WHERE id = %(id)s AND (status || '') = 'ingested' AND claim_id = %(claim_id)s
