-- Lock an event and its ticket, if that is still to get another owner: `is_recall`, in place of one who does not respond (new, too
-- late), else its first (open, none). None while a switch is on. Rows that others have locked are left: a person may assign the ticket.
-- Returns one row or none: ticket_id, account_id, owner (null = none), former_owners (of earlier recalls), customer_name, phone,
-- replay_count, roster_source_id (null = the default roster).
-- Relies on pk_pancake_webhook_event and the primary keys of Diva's tables ticket and contact_book.
SELECT
    t.id::text AS ticket_id,
    t.account_id::text AS account_id,
    t.assignee_id::text AS owner,
    ARRAY(
        SELECT r.recall ->> 'from' FROM jsonb_array_elements(COALESCE(e.evidence #> '{assignment,recalls}', '[]')) AS r (recall)
    ) AS former_owners,
    COALESCE(t.data -> 'pancake' ->> 'name', '') AS customer_name,
    COALESCE((SELECT c.primary_phone FROM public.contact_book AS c WHERE c.id = t.contact_book_id), e.normalized_phone) AS phone,
    e.replay_count,
    (SELECT r.id::text FROM public.pancake_roster_source(e.connection_id, e.source_ids) AS r) AS roster_source_id
FROM public.pancake_webhook_event AS e
JOIN public.ticket AS t ON t.id = e.ticket_id
WHERE
    e.id = %(id)s
    -- A handler that works on the event, or sends its notifications, would mark a new one as sent without sending it.
    AND e.status <> 'ingested'
    AND (
        e.notifications = '[]'::jsonb
        OR e.notified_at IS NOT NULL
        OR e.notify_claimed_at IS NULL
        OR e.notify_claimed_at < clock_timestamp() - %(lease)s::interval
    )
    -- Of both cases: the ticket has the owner that the event has, or none as well. IS NOT DISTINCT FROM keeps the planner on the primary
    -- key: with = or IS NULL it may take Diva's index on the owner, and read all tickets of that owner, or all that have none.
    AND t.assignee_id IS NOT DISTINCT FROM e.assignee_id
    AND CASE
        WHEN %(is_recall)s THEN
            e.outcome = 'ticket_created'
            AND num_nonnulls(e.assignee_id) = 1
            AND t.status = 'new'
            AND t.first_response_at IS NULL
            AND public.pancake_recall_is_due(e.evidence, t.created_at, %(now)s)
        ELSE
            public.pancake_event_is_unassigned(e.outcome, e.assignee_id, e.evidence)
            AND t.status IN ('new', 'in_progress')
    END
    AND NOT EXISTS (SELECT FROM public.pancake_switch() AS w WHERE w.kill_switch OR w.processing_paused)
FOR NO KEY UPDATE OF e, t SKIP LOCKED
