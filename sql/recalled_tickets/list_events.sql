-- List events whose ticket waits too long for the first response of the owner that was chosen: still new, and still that owner's;
-- oldest ticket first. None while recall_after_minutes is 0, the kill switch is on or processing is paused: nothing is read then.
-- Considers events that were stored or replayed in the last 3 days.
-- Returns id. Relies on ix_pancake_webhook_event_created_at, ix_pancake_webhook_event_replayed and the primary key of Diva's ticket table.
SELECT e.id
FROM public.pancake_webhook_event AS e
-- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
CROSS JOIN LATERAL (
    SELECT k.assignee_id, k.status, k.first_response_at, k.created_at FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
) AS t
WHERE
    (SELECT s.recall_after_minutes > 0 AND NOT s.kill_switch AND NOT s.processing_paused FROM public.pancake_setting() AS s)
    AND (
        e.created_at > %(now)s::timestamptz - interval '3 days' AND e.created_at <= %(now)s::timestamptz
        OR e.replayed_at > %(now)s::timestamptz - interval '3 days' AND e.replayed_at <= %(now)s::timestamptz
    )
    AND e.outcome = 'ticket_created'
    AND t.assignee_id = e.assignee_id
    AND t.status = 'new'
    AND t.first_response_at IS NULL
    AND public.pancake_recall_is_due(e.evidence, t.created_at, %(now)s)
ORDER BY t.created_at, e.id
LIMIT %(limit)s
