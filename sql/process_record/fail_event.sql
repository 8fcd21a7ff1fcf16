-- Record a failed attempt: status failed with the time of the next attempt, or dead_letter without one.
-- Returns nothing; changes nothing if the claim was lost. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event
SET
    status = CASE WHEN %(next_attempt_at)s::timestamptz IS NULL THEN 'dead_letter' ELSE 'failed' END,
    next_attempt_at = %(next_attempt_at)s,
    error_code = %(error_code)s,
    error_detail = %(error_detail)s,
    evidence = evidence || %(evidence)s::jsonb
-- || '' keeps the planner on the primary key, as in claim_event.
WHERE id = %(id)s AND (status || '') = 'ingested' AND claim_id = %(claim_id)s
