-- Close the event with what came of it. The lease on its notifications is ours from here; unsent older ones stay.
-- Returns nothing. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event
SET
    status = 'processed', processed_at = %(now)s, outcome = %(outcome)s, error_code = NULL, error_detail = NULL,
    normalized_phone = %(phone)s, account_id = %(account_id)s, ticket_id = %(ticket_id)s, assignee_id = %(assignee_id)s,
    evidence = (evidence - 'force') || %(evidence)s::jsonb,
    notifications = CASE WHEN notified_at IS NULL THEN notifications ELSE '[]' END || %(notifications)s::jsonb,
    notify_claimed_at = clock_timestamp(),
    notified_at = NULL
WHERE id = %(id)s
