-- Finish the event with its result, and claim its notifications for this handler; unsent older ones are kept.
-- A replay that changes nothing keeps the recorded result.
-- Returns one row: notify_claimed_at. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event
SET
    status = 'processed', processed_at = %(now)s, error_code = NULL, error_detail = NULL,
    normalized_phone = %(phone)s,
    outcome = CASE WHEN %(changes)s THEN %(outcome)s ELSE COALESCE(outcome, %(outcome)s) END,
    account_id = CASE WHEN %(changes)s THEN %(account_id)s::uuid ELSE COALESCE(account_id, %(account_id)s::uuid) END,
    ticket_id = CASE WHEN %(changes)s THEN %(ticket_id)s::uuid ELSE COALESCE(ticket_id, %(ticket_id)s::uuid) END,
    assignee_id = CASE WHEN %(changes)s THEN %(assignee_id)s::uuid ELSE assignee_id END,
    evidence = (evidence - 'force') || %(evidence)s::jsonb,
    notifications = CASE WHEN notified_at IS NULL THEN notifications ELSE '[]' END || %(notifications)s::jsonb,
    notify_claimed_at = clock_timestamp(),
    notified_at = NULL
WHERE id = %(id)s
RETURNING notify_claimed_at
