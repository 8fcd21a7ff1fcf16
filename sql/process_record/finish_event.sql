-- Finish the event with its result, and claim its notifications for this handler; unsent older ones are kept.
-- A replay that changes nothing keeps the recorded result and what was sent. The event that created its ticket stays that event.
-- Of `force` in the evidence `forced` is left. applied_at is the database's: it orders the versions that different handlers applied.
-- Returns one row: notify_claimed_at. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event
SET
    status = 'processed', processed_at = %(now)s, error_code = NULL, error_detail = NULL,
    applied_at = CASE WHEN %(changes)s OR %(is_applied)s AND outcome IS NULL THEN clock_timestamp() ELSE applied_at END,
    normalized_phone = CASE WHEN %(changes)s OR outcome IS NULL THEN COALESCE(%(phone)s, normalized_phone) ELSE normalized_phone END,
    outcome = CASE
        WHEN NOT %(changes)s THEN COALESCE(outcome, %(outcome)s)
        WHEN outcome = 'ticket_created' AND ticket_id = %(ticket_id)s::uuid THEN outcome
        ELSE %(outcome)s
    END,
    account_id = CASE WHEN %(changes)s THEN %(account_id)s::uuid ELSE COALESCE(account_id, %(account_id)s::uuid) END,
    ticket_id = CASE WHEN %(changes)s THEN %(ticket_id)s::uuid ELSE COALESCE(ticket_id, %(ticket_id)s::uuid) END,
    assignee_id = CASE WHEN %(changes)s THEN %(assignee_id)s::uuid ELSE assignee_id END,
    evidence = (evidence - '{force,forced,error}'::text[]) || CASE WHEN evidence ? 'force' THEN '{"forced": true}' ELSE '{}' END::jsonb
        || CASE WHEN %(changes)s OR NOT evidence ? 'phone' THEN %(evidence)s::jsonb ELSE %(evidence)s::jsonb - 'phone' END,
    notifications = CASE
        WHEN %(notifications)s::jsonb = '[]'::jsonb THEN notifications
        WHEN notified_at IS NULL THEN notifications || %(notifications)s::jsonb
        ELSE %(notifications)s::jsonb
    END,
    notify_claimed_at = clock_timestamp(),
    notified_at = CASE WHEN %(notifications)s::jsonb = '[]'::jsonb THEN notified_at END
WHERE id = %(id)s
RETURNING notify_claimed_at
