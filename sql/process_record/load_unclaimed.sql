-- Load an event that a delivery could not claim, and what Hasura's log says of this delivery.
-- Returns one row: status (null: no such event) and what the answer says of the event; is_redelivered, is_answered as in
-- pancake_delivery_history. Relies on pk_pancake_webhook_event, uq_pancake_source.
SELECT
    e.status,
    e.outcome,
    e.error_code,
    e.next_attempt_at,
    e.evidence ->> 'held_by' AS held_by,
    t.code::text AS ticket_code,
    e.record_id IS NOT NULL AS has_record,
    e.payload IS NOT NULL AS has_payload,
    EXISTS (SELECT FROM public.pancake_active_source(e.connection_id, e.source_ids)) AS has_active_source,
    NOT w.kill_switch AS switched_on,
    h.is_redelivered,
    h.is_answered
FROM public.pancake_switch() AS w
CROSS JOIN public.pancake_delivery_history(%(hasura_event_id)s::text, %(tries)s::integer) AS h
LEFT JOIN public.pancake_webhook_event AS e ON e.id = %(id)s
LEFT JOIN public.ticket AS t ON t.id = e.ticket_id
