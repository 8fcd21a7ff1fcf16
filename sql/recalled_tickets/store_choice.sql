-- Record another owner on the event that created the ticket, as if chosen then, and add the notifications. `recalls` of the evidence
-- keeps each owner who lost the ticket, with the time. The caller holds the event's row lock.
-- Returns nothing. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event AS e
SET
    assignee_id = %(owner)s::uuid,
    evidence = e.evidence || jsonb_build_object(
        'assignment', COALESCE(e.evidence -> 'assignment', '{}') - 'former_owner' || %(assignment)s::jsonb || jsonb_build_object(
            'assigned_at', %(now)s::timestamptz,
            'recalls', COALESCE(e.evidence #> '{assignment,recalls}', '[]') || jsonb_build_array(jsonb_build_object(
                'from', %(former_owner)s::uuid, 'to', %(owner)s::uuid, 'at', %(now)s::timestamptz, 'reason', 'no_first_response'
            ))
        )
    ),
    notifications = CASE WHEN e.notified_at IS NULL THEN e.notifications ELSE '[]' END || %(notifications)s::jsonb,
    notified_at = NULL,
    notify_claimed_at = NULL
WHERE e.id = %(id)s
