-- Record an owner on the event that created the ticket, as if chosen then; and add the owner's notification.
-- The evidence keeps the time, and the members who were skipped when the ticket was created. The caller holds the event's row lock.
-- Returns nothing. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event AS e
SET
    assignee_id = %(owner)s,
    evidence = e.evidence || jsonb_build_object('assignment', %(assignment)s::jsonb || jsonb_build_object(
        'assigned_at', %(now)s::timestamptz, 'skipped_before', e.evidence #> '{assignment,skipped}'
    )),
    notifications = CASE WHEN e.notified_at IS NULL THEN e.notifications ELSE '[]' END || %(notifications)s::jsonb,
    notified_at = NULL,
    notify_claimed_at = NULL
WHERE e.id = %(id)s
