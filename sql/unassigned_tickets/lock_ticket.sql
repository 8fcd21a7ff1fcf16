-- Lock an event and the ticket that it created, if the ticket may still be assigned: open, without an owner, the switches as they
-- should be. Rows that another session has locked are left for the next call: a person may be assigning the ticket right now.
-- Returns one row or none: ticket_id, account_id, customer_name, phone, replay_count, roster_source_id (null = the default roster).
-- Relies on pk_pancake_webhook_event and the primary keys of Diva's tables ticket and contact_book.
SELECT
    t.id::text AS ticket_id,
    t.account_id::text AS account_id,
    COALESCE(t.data -> 'pancake' ->> 'name', '') AS customer_name,
    COALESCE((SELECT c.primary_phone FROM public.contact_book AS c WHERE c.id = t.contact_book_id), e.normalized_phone) AS phone,
    e.replay_count,
    (SELECT r.id::text FROM public.pancake_roster_source(e.connection_id, e.source_ids) AS r) AS roster_source_id
FROM public.pancake_webhook_event AS e
JOIN public.ticket AS t ON t.id = e.ticket_id
WHERE
    e.id = %(id)s
    AND public.pancake_event_is_unassigned(e.outcome, e.assignee_id, e.evidence)
    -- A handler that works on the event, or sends its notifications, would mark a new one as sent without sending it.
    AND e.status <> 'ingested'
    AND (
        e.notifications = '[]'::jsonb
        OR e.notified_at IS NOT NULL
        OR e.notify_claimed_at IS NULL
        OR e.notify_claimed_at < clock_timestamp() - %(lease)s::interval
    )
    -- num_nulls keeps the planner on the primary key. With IS NULL it may take Diva's index on the owner, and read all tickets of
    -- Diva that have none.
    AND num_nulls(t.assignee_id) = 1
    AND t.status IN ('new', 'in_progress')
    AND NOT EXISTS (SELECT FROM public.pancake_switch() AS w WHERE w.kill_switch OR w.processing_paused)
FOR NO KEY UPDATE OF e, t SKIP LOCKED
